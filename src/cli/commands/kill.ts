import { noteAllStopped, stopVm } from "../../operations/end/stop.ts"
import { listUnended } from "../../operations/end/unended.ts"
import { openState } from "../../store/state/open.ts"
import { command } from "../terminal/command.ts"
import { eachVmArgs } from "./forEach.ts"
import { forEachOfBoth } from "./sudoVms.ts"

export default command({
  meta: { name: "kill", description: "End VMs at once, without asking their guests" },
  args: eachVmArgs("Every VM that has not ended"),
  takesMany: true,
  async run({ vm, all }, invocation) {
    using state = openState({ toEnd: true })
    if (all === true) noteAllStopped(state, invocation.output.log)
    return await forEachOfBoth({ vm, all }, invocation, {
      verb: "kill",
      state,
      words: { doing: "killing", one: "has ended", many: "have ended" },
      all: () => listUnended(state),
      work: (vm, how) => stopVm(state, vm, { action: "kill", ...how }),
    })
  },
})
