import type { Failure } from "../../base/terms/failure.ts"
import { STOP_DEFAULT } from "../../inputs/schema/vm.ts"
import { noteAllStopped, stopVm } from "../../operations/end/stop.ts"
import { listUnended } from "../../operations/end/unended.ts"
import { openState, type State } from "../../store/state/open.ts"
import type { VmRecord } from "../../store/state/records.ts"
import { command, type Invocation } from "../terminal/command.ts"
import { durationOf } from "../terminal/duration.ts"
import { eachVmArgs } from "./forEach.ts"
import { forEachOfBoth } from "./sudoVms.ts"

export default command({
  meta: { name: "stop", description: "Stop VMs as their plugins say, and prove that nothing of them is left" },
  args: {
    ...eachVmArgs("Every VM that has not ended"),
    timeout: {
      type: "string",
      valueHint: "TIME",
      description: `Kill a guest that has not stopped by then; without it: what the plugin says, else ${STOP_DEFAULT}`,
    },
  },
  takesMany: true,
  async run({ vm, all, timeout }, invocation) {
    const limit = durationOf("--timeout", timeout)
    using state = openState({ toEnd: true })
    if (all === true) noteAllStopped(state, invocation.output.log)
    return await stopVms(state, { vm, all, timeout: limit }, invocation)
  },
})

/** Which VMs are stopped: a first one by its word, or `every` one, how many milliseconds each guest has, and whether that passes. */
interface Which {
  readonly vm?: string | undefined
  readonly all?: boolean | undefined
  readonly every?: () => readonly VmRecord[]
  readonly timeout?: number | undefined
  readonly passing?: boolean | undefined
}

/** Stops VMs as `banger stop` does. */
export function stopVms(
  state: State,
  { timeout, passing, every = () => listUnended(state), ...which }: Which,
  invocation: Invocation,
): Promise<Failure | undefined> {
  return forEachOfBoth(which, invocation, {
    verb: "stop",
    more: timeout === undefined ? {} : { timeoutMs: timeout },
    state,
    words: { doing: "stopping", one: "has ended", many: "have ended" },
    all: every,
    work: (vm, how) => stopVm(state, vm, { action: "stop", timeout, passing, ...how }),
  })
}
