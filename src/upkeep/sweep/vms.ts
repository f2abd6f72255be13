import { existsSync } from "node:fs"
import { join } from "node:path"
import * as v from "valibot"
import { messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { openState, ownPlaces, type State } from "../../store/state/open.ts"
import { type Recovery, recoverAll } from "../../supervisor/recover.ts"
import { listVms, type VmStatus } from "../../vm/status.ts"
import { trimLogs } from "./trimLogs.ts"

/** What became of a VM that had not ended, by its record; `dead`: it would be recovered, but this was a dry run. */
export const vmSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  is: v.picklist(["supervised", "alive", "busy", "kept", "recovered", "unknown", "failed", "dead"]),
  why: v.optional(v.string()),
  hint: v.optional(v.string()),
  /** So many bytes of its logs were given up, which nobody keeps below their limits. */
  trimmed: v.optional(v.number()),
})

export type VmVerdict = v.InferOutput<typeof vmSchema>

/**
 * Finishes the VMs that are dead and whose supervisor is gone, or in a dry run tells which they are. Without a state
 * database there are none, and none is made. Throws a failure when the records cannot be read: then nothing is done.
 */
export async function sweepVms(dryRun: boolean, log: Log): Promise<readonly VmVerdict[]> {
  if (!existsSync(join(ownPlaces().state, "state.db"))) return []
  using state = openState()
  if (dryRun) return listVms(state, false).map(asListed)
  return (await recoverAll(state, log)).map((vm) => (vm.is === "alive" ? trimmed(state, vm) : vm))
}

/** Whether somebody must know of it. */
export function isTrouble({ is }: Pick<VmVerdict, "is">): boolean {
  return is === "unknown" || is === "failed"
}

// --- internal ---

/** A VM without a supervisor has nobody who keeps its logs below their limits. */
function trimmed(state: State, vm: Recovery): VmVerdict {
  try {
    const bytes = trimLogs(state, vm.id)
    return bytes === 0 ? vm : { ...vm, trimmed: bytes }
  } catch (error) {
    return { ...vm, is: "failed", why: `its logs are not kept below their limits: ${messageOf(error)}` }
  }
}

function asListed({ id, name, liveness, supervisor, why, hint }: VmStatus): VmVerdict {
  const is = supervisor === undefined ? liveness : "supervised"
  return { id, name, is, why, hint: is === "unknown" ? hint : undefined }
}
