import { EXIT } from "../../base/terms/failure.ts"
import { exitOfRecord, waitVm } from "../../operations/wait.ts"
import { openState } from "../../store/state/open.ts"
import { exitText } from "../../vm/exit.ts"
import { command, vmArg } from "../terminal/command.ts"

export default command({
  meta: { name: "wait", description: "Wait for a VM's end and print how it was; fails when it was a bad one" },
  args: {
    vm: vmArg,
    json: { type: "boolean", description: "Print the exit as JSON" },
  },
  async run({ vm, json }, { output }) {
    using state = openState()
    const record = await waitVm(state, vm, output.log)
    const exit = exitOfRecord(record)
    output.print(json === true ? JSON.stringify(exit, null, 2) : exit === null ? record.state : exitText(exit))
    return record.state === "stopped" ? EXIT.ok : EXIT.failed
  },
})
