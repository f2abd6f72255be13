import { removeVm } from "../../operations/remove.ts"
import { openState } from "../../store/state/open.ts"
import { command, vmArg } from "../terminal/command.ts"
import { forEachVm } from "./forEach.ts"

export default command({
  meta: { name: "rm", description: "Remove VMs that have ended, with their logs" },
  args: {
    vm: vmArg,
    force: { type: "boolean", alias: "f", description: "Kill it first if it still runs" },
  },
  takesMany: true,
  async run({ vm, force }, invocation) {
    const { output } = invocation
    using state = openState()
    return await forEachVm(vm, invocation, async (vm) => {
      const { id, name } = await removeVm(state, vm, { force: force === true, log: output.log })
      output.log.info(`${name} (${id}) is removed`)
      return { id, name }
    })
  },
})
