import { exitOfRecord, failureOfRecord, waitResultOf, waitVm } from "../../operations/wait.ts"
import { openState } from "../../store/state/open.ts"
import { exitText } from "../../vm/exit.ts"
import { command, vmArg } from "../terminal/command.ts"
import { durationOf } from "../terminal/duration.ts"

export default command({
  meta: { name: "wait", description: "Wait until a VM ends, and print how; fails if it ended badly" },
  args: {
    vm: vmArg,
    timeout: {
      type: "string",
      valueHint: "TIME",
      description: "Fail, with exit status 124, when it still runs then (10m)",
    },
    json: { type: "boolean", description: "Print how it ended as JSON" },
  },
  async run({ vm, timeout }, { output }) {
    using state = openState()
    const record = await waitVm(state, vm, {
      log: output.log,
      timeout: durationOf("--timeout", timeout),
      unread: output.unread(),
    })
    if (record === undefined) return undefined
    const exit = exitOfRecord(record)
    output.show(waitResultOf(record), exit === null ? record.state : exitText(exit))
    return failureOfRecord(record)
  },
})
