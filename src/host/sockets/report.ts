import * as v from "valibot"
import { failureSchema } from "../../base/terms/failureSchema.ts"

/** Why a socket that may be dead is kept. */
export const KEPT_FOR = [
  "young",
  "owner",
  "links",
  "lock",
  "vm",
  "hook",
  "diag",
  "changed",
  "respawned",
  "mount",
] as const

/**
 * What a sweep found out about one socket, and did:
 * `alive`: some socket is bound to it; `removed`; `dead`: this was a dry run, and it stays;
 * `kept`: left alone, for a reason of `KEPT_FOR`; `unknown`: left alone, as nothing tells whether it is dead;
 * `gone`: somebody else was first; `failed`: dead, but it could not be removed.
 */
const socketSchema = v.strictObject({
  path: v.string(),
  /** The path's bytes in base64, when they are no UTF-8. */
  pathBase64: v.optional(v.string()),
  is: v.picklist(["alive", "dead", "removed", "kept", "gone", "unknown", "failed"]),
  /** For `kept`. */
  reason: v.optional(v.picklist(KEPT_FOR)),
  /** In words. */
  why: v.optional(v.string()),
  /** `device:inode`. */
  inode: v.optional(v.string()),
  uid: v.optional(v.number()),
  /** Since its name or inode was last changed. */
  ageSeconds: v.optional(v.number()),
  /** For `removed`: whether another socket had its name when the sweep left the directory. */
  cameBack: v.optional(v.boolean()),
})

/** How a dead socket is removed in a directory: `exact` cannot remove another than that one, `re-checked` might. */
const removalSchema = v.picklist(["exact", "re-checked"])

const count = v.pipe(v.number(), v.integer(), v.minValue(0))

/** How many sockets there were of each kind; `dead` counts removed ones too, `errors` what is unknown or failed. */
export const totalsSchema = v.strictObject({
  examined: count,
  alive: count,
  dead: count,
  removed: count,
  gone: count,
  unknown: count,
  kept: v.strictObject(v.entriesFromList(KEPT_FOR, count)),
  errors: count,
})

/** What a sweep did in one directory. */
export const directorySchema = v.strictObject({
  path: v.string(),
  pathBase64: v.optional(v.string()),
  is: v.picklist(["swept", "refused", "kept", "busy", "failed"]),
  /** Why it is not swept, or not exactly. */
  why: v.optional(v.string()),
  hint: v.optional(v.string()),
  /** For `refused` and `failed`. */
  error: v.optional(failureSchema),
  fileSystem: v.optional(v.string()),
  removal: v.optional(removalSchema),
  sockets: v.array(socketSchema),
})

export type KeptFor = (typeof KEPT_FOR)[number]
export type SweptSocket = v.InferOutput<typeof socketSchema>
export type SweptDirectory = v.InferOutput<typeof directorySchema>
export type Removal = v.InferOutput<typeof removalSchema>
export type Totals = v.InferOutput<typeof totalsSchema>

/** Totals of nothing. */
export function noTotals(): Totals {
  const kept = Object.fromEntries(KEPT_FOR.map((reason) => [reason, 0])) as Totals["kept"]
  return { examined: 0, alive: 0, dead: 0, removed: 0, gone: 0, unknown: 0, kept, errors: 0 }
}

/** Counts one socket. What was dead counts as dead, removed or not. */
export function countSocket(totals: Totals, { is, reason }: Pick<SweptSocket, "is" | "reason">): void {
  totals.examined++
  if (is === "alive" || is === "gone" || is === "removed" || is === "unknown") totals[is]++
  if (is === "removed" || is === "dead" || is === "failed") totals.dead++
  if (is === "failed" || is === "unknown") totals.errors++
  if (reason !== undefined) totals.kept[reason]++
}
