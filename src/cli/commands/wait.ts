import { EXIT } from "../../base/terms/failure.ts"
import { exitOfRecord, waitVm } from "../../operations/wait.ts"
import { openState } from "../../store/state/open.ts"
import { exitText } from "../../vm/exit.ts"
import { command, vmArg } from "../terminal/command.ts"
import { durationOf } from "../terminal/duration.ts"

export default command({
  meta: { name: "wait", description: "Wait for a VM's end and print how it was; fails when it was a bad one" },
  args: {
    vm: vmArg,
    timeout: {
      type: "string",
      valueHint: "TIME",
      description: "Fail, with exit status 124, when it still runs then (10m)",
    },
    json: { type: "boolean", description: "Print the exit as JSON" },
  },
  async run({ vm, timeout, json }, { output }) {
    using state = openState()
    const record = await waitVm(state, vm, { log: output.log, timeout: durationOf("--timeout", timeout) })
    const exit = exitOfRecord(record)
    output.print(json === true ? JSON.stringify(exit, null, 2) : exit === null ? record.state : exitText(exit))
    return record.state === "stopped" ? EXIT.ok : EXIT.failed
  },
})
