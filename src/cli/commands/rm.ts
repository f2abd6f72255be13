import { removeVm } from "../../operations/remove.ts"
import { openState } from "../../store/state/open.ts"
import { type Command, vmArg } from "../terminal/command.ts"
import { forEach } from "./forEach.ts"

const command: Command = {
  meta: { name: "rm", description: "Remove VMs that have ended, with their logs" },
  args: {
    vm: vmArg,
    force: { type: "boolean", alias: "f", description: "Kill it first if it still runs" },
  },
  takesMany: true,
  async run(invocation) {
    const { values, output } = invocation
    using state = openState()
    return await forEach("rm", invocation, async (vm) => {
      const { id, name } = await removeVm(state, vm, { force: values.force === true, log: output.log })
      output.log.info(`${name} (${id}) is removed`)
    })
  },
}
export default command
