import { stopVm } from "../../operations/stop.ts"
import { openState } from "../../store/state/open.ts"
import { command, vmArg } from "../terminal/command.ts"
import { forEachVm } from "./forEach.ts"

export default command({
  meta: { name: "kill", description: "End VMs at once, without asking their guests" },
  args: { vm: vmArg },
  takesMany: true,
  async run({ vm }, invocation) {
    const { output } = invocation
    using state = openState()
    return await forEachVm(vm, invocation, async (vm) => {
      const { name, id } = await stopVm(state, vm, { action: "kill", log: output.log })
      output.log.info(`${name} (${id}) has ended`)
      return { id, name }
    })
  },
})
