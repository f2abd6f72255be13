import { jsonText } from "../../base/terms/message.ts"
import { inspectVm } from "../../operations/inspect.ts"
import { openStateToLook } from "../../store/state/open.ts"
import { command, vmArg } from "../terminal/command.ts"

export default command({
  meta: { name: "inspect", description: "Print all that is known of a VM, as JSON" },
  args: { vm: vmArg },
  async run({ vm }, { output }) {
    using state = openStateToLook(output.log.warn)
    output.print(jsonText(await inspectVm(state, vm), 2))
    return undefined
  },
})
