import { EXIT } from "../../base/terms/failure.ts"
import { exitOfRecord, waitResultOf, waitVm } from "../../operations/wait.ts"
import { openState } from "../../store/state/open.ts"
import { exitText } from "../../vm/exit.ts"
import { type Command, text, vmArg } from "../terminal/command.ts"

const command: Command = {
  meta: { name: "wait", description: "Wait for a VM's end and print how it was; fails when it was a bad one" },
  args: {
    vm: vmArg,
    json: { type: "boolean", description: "Print how it ended as JSON" },
  },
  async run({ values, output }) {
    using state = openState()
    const record = await waitVm(state, text(values, "vm") ?? "", output.log)
    const exit = exitOfRecord(record)
    if (values.json === true) output.print(JSON.stringify(waitResultOf(record), null, 2))
    else output.print(exit === null ? record.state : exitText(exit))
    return record.state === "stopped" ? EXIT.ok : EXIT.failed
  },
}
export default command
