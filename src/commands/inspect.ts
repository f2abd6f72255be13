import { inspectVm } from "../lifecycle/inspect.ts"
import { openStateToLook } from "../lifecycle/session.ts"
import { EXIT } from "../terms/failure.ts"
import { type Command, text, vmArg } from "./command.ts"

const command: Command = {
  meta: { name: "inspect", description: "Print all that is known of a VM, as JSON" },
  args: { vm: vmArg },
  run({ values, output }) {
    const state = openStateToLook(output.log.warn)
    try {
      output.print(JSON.stringify(inspectVm(state, text(values, "vm") ?? ""), null, 2))
      return EXIT.ok
    } finally {
      state.db.close()
    }
  },
}
export default command
