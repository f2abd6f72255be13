import { stopVm } from "../../operations/stop.ts"
import { openState } from "../../store/state/open.ts"
import { type Command, vmArg } from "../terminal/command.ts"
import { forEach } from "./forEach.ts"

const command: Command = {
  meta: { name: "kill", description: "End VMs at once, without asking their guests" },
  args: { vm: vmArg },
  takesMany: true,
  async run(invocation) {
    const { output } = invocation
    using state = openState()
    return await forEach("kill", invocation, async (vm) => {
      const { name, id } = await stopVm(state, vm, { action: "kill", log: output.log })
      output.log.info(`${name} (${id}) has ended`)
    })
  },
}
export default command
