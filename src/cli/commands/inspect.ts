import { EXIT } from "../../base/terms/failure.ts"
import { inspectVm } from "../../operations/inspect.ts"
import { openStateToLook } from "../../store/state/open.ts"
import { type Command, text, vmArg } from "../terminal/command.ts"

const command: Command = {
  meta: { name: "inspect", description: "Print all that is known of a VM, as JSON" },
  args: { vm: vmArg },
  run({ values, output }) {
    using state = openStateToLook(output.log.warn)
    output.print(JSON.stringify(inspectVm(state, text(values, "vm") ?? ""), null, 2))
    return EXIT.ok
  },
}
export default command
