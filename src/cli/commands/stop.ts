import { stopVm } from "../../operations/stop.ts"
import { openState } from "../../store/state/open.ts"
import { command, vmArg } from "../terminal/command.ts"
import { durationOf } from "../terminal/duration.ts"
import { forEachVm } from "./forEach.ts"

export default command({
  meta: { name: "stop", description: "Stop VMs as their plugins say, and prove that nothing of them is left" },
  args: {
    vm: vmArg,
    timeout: { type: "string", valueHint: "TIME", description: "Kill a guest that has not stopped by then (10s)" },
  },
  takesMany: true,
  async run({ vm, timeout: given }, invocation) {
    const { output } = invocation
    const timeout = durationOf("--timeout", given)
    using state = openState()
    return await forEachVm(vm, invocation, async (vm) => {
      const { name, id } = await stopVm(state, vm, { action: "stop", timeout, log: output.log })
      output.log.info(`${name} (${id}) has ended`)
      return { id, name }
    })
  },
})
