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

/** How a VM ended, as records, events and `--json` have it: docs/plugins.md has each reason. */
export const exitSchema = v.strictObject({
  reason: v.picklist([
    "guest reset",
    "guest powered off",
    "guest panicked",
    "stopped",
    "killed",
    "crashed",
    "failed to start",
    "lost",
  ]),
  requested: v.boolean(),
  code: v.nullable(v.number()),
  signal: v.nullable(v.string()),
  panic: v.optional(v.string()),
  detail: v.optional(v.string()),
  guestStatus: v.optional(v.number()),
})

/** Whether a VM in this state has ended for good. */
export function isFinal(state: VmState): boolean {
  return TRANSITIONS[state].length === 0
}
