import { jsonText } from "../../base/terms/message.ts"
import { inspectVm } from "../../operations/inspect.ts"
import { openStateToLook } from "../../store/state/open.ts"
import { command, vmArg } from "../terminal/command.ts"
import { unlessOwn } from "./sudoVms.ts"

export default command({
  meta: { name: "inspect", description: "Print all that is known of a VM, as JSON" },
  args: { vm: vmArg },
  async run({ vm }, { output }) {
    const asked = await unlessOwn(vm, { verb: "inspect", vm }, { output })
    if (asked !== undefined) return void output.print(jsonText(asked.value, 2))
    using state = openStateToLook(output.log.warn)
    output.print(jsonText(await inspectVm(state, vm), 2))
    return undefined
  },
})
