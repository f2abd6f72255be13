import * as v from "valibot"

export const vmStateSchema = v.picklist(["creating", "staging", "booting", "running", "stopping", "stopped", "failed"])
export type VmState = v.InferOutput<typeof vmStateSchema>

/** From each state, the states a VM may go to. */
export const TRANSITIONS: Readonly<Record<VmState, readonly VmState[]>> = {
  creating: ["staging", "failed"],
  staging: ["booting", "failed"],
  booting: ["running", "failed"],
  running: ["stopping", "failed"],
  stopping: ["stopped", "failed"],
  stopped: [],
  failed: [],
}

/** Whether a VM in this state has ended for good. */
export function isFinal(state: VmState): boolean {
  return TRANSITIONS[state].length === 0
}
