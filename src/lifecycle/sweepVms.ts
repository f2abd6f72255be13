import { existsSync } from "node:fs"
import { join } from "node:path"
import * as v from "valibot"
import { type Listed, listVms } from "./list.ts"
import { recoverAll } from "./recover.ts"
import type { Report } from "./report.ts"
import { openState, ownPlaces } from "./session.ts"

/** What became of a VM that had not ended, by its record; `dead`: it would be recovered, but this was a dry run. */
export const vmSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  is: v.picklist(["supervised", "alive", "busy", "kept", "recovered", "cannot tell", "failed", "dead"]),
  why: v.optional(v.string()),
  hint: v.optional(v.string()),
})

export type VmVerdict = v.InferOutput<typeof vmSchema>

/**
 * Finishes the VMs that are dead and whose supervisor is gone, or in a dry run tells which they are. Without a state
 * database there are none, and none is made. Throws a failure when the records cannot be read: then nothing is done.
 */
export async function sweepVms(dryRun: boolean, report: Report): Promise<readonly VmVerdict[]> {
  if (!existsSync(join(ownPlaces().state, "state.db"))) return []
  const state = openState()
  try {
    return dryRun ? listVms(state, false).map(asListed) : await recoverAll(state, report)
  } finally {
    state.db.close()
  }
}

/** Whether somebody must know of it. */
export function isTrouble({ is }: Pick<VmVerdict, "is">): boolean {
  return is === "cannot tell" || is === "failed"
}

// --- internal ---

function asListed({ id, name, truth, supervisor, why, hint }: Listed): VmVerdict {
  const is = supervisor === undefined ? truth : "supervised"
  return { id, name, is, why, hint: is === "cannot tell" ? hint : undefined }
}
