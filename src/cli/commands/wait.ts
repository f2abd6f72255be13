import { Failure, failureJson } from "../../base/terms/failure.ts"
import { exitOfRecord, waitResultOf, waitVm } from "../../operations/wait.ts"
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
    json: { type: "boolean", description: "Print how it ended as JSON" },
  },
  async run({ vm, timeout }, { output }) {
    using state = openState()
    const record = await waitVm(state, vm, { log: output.log, timeout: durationOf("--timeout", timeout) })
    const exit = exitOfRecord(record)
    const { id, name, state: end } = record
    const text = exit === null ? end : exitText(exit)
    const failure =
      end === "stopped" ? undefined : new Failure("VM_FAILED", `${name} (${id}): ${text}`, { subject: id })
    output.show({ ...waitResultOf(record), ...(failure && failureJson(failure)) }, text)
    return failure
  },
})
