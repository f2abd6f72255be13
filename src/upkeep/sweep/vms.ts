import { existsSync } from "node:fs"
import { join } from "node:path"
import * as v from "valibot"
import { whyOf } from "../../base/terms/failure.ts"
import { failureSchema } from "../../base/terms/failureSchema.ts"
import type { Log } from "../../base/terms/log.ts"
import { openState, ownPlaces, type State } from "../../store/state/open.ts"
import { type Recovery, recoverAll } from "../../supervisor/recover.ts"
import { listVms, type VmStatus } from "../../vm/status.ts"
import { trimLogs } from "./trimLogs.ts"

/**
 * What became of a VM whose record had not ended. `supervised`, `alive`: it runs, with a supervisor and without; `busy`:
 * another banger acts on it; `kept`: a failed start, left for inspection; `recovered`: it was dead, and all is released;
 * `dead`: it would be recovered, but this was a dry run; `unknown`, `failed`: see `why`.
 */
export const vmSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  is: v.picklist(["supervised", "alive", "busy", "kept", "recovered", "unknown", "failed", "dead"]),
  why: v.optional(v.string()),
  hint: v.optional(v.string()),
  /** The failure that made it `failed`, where this process has it. */
  error: v.optional(failureSchema),
  /** How much was cut off the logs of a VM without a supervisor. */
  trimmedBytes: v.optional(v.number()),
})

export type SweptVm = v.InferOutput<typeof vmSchema>

/**
 * Finishes the VMs that are dead and have no supervisor, or in a dry run tells which they are. Without a state database
 * there are none, and no database is made. Throws a failure when the records cannot be read: then nothing is done.
 */
export async function sweepVms(dryRun: boolean, log: Log): Promise<SweptVm[]> {
  if (!existsSync(join(ownPlaces().state, "state.db"))) return []
  using state = openState({ toEnd: !dryRun })
  if (dryRun) return listVms(state, false).map(ofStatus)
  return (await recoverAll(state, log)).map((vm) => (vm.is === "alive" ? trim(state, vm) : vm))
}

// --- internal ---

/** A sweep keeps the logs of a VM without a supervisor below their limits. */
function trim(state: State, vm: Recovery): SweptVm {
  try {
    const trimmedBytes = trimLogs(state, vm.id)
    return trimmedBytes === 0 ? vm : { ...vm, trimmedBytes }
  } catch (error) {
    const told = whyOf(error)
    return { ...vm, is: "failed", ...told, why: `its logs are not kept below their limits: ${told.why}` }
  }
}

function ofStatus({ id, name, liveness, supervisor, why, hint }: VmStatus): SweptVm {
  const is = supervisor === undefined ? liveness : "supervised"
  return { id, name, is, why, hint: is === "unknown" ? hint : undefined }
}
