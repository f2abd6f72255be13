import * as v from "valibot"

/** Why a socket that may be dead is left where it is. */
export const SPARED = ["young", "owner", "links", "lock", "vm", "hook", "diag", "changed", "mount", "unknown"] as const

/**
 * What a sweep found out about one socket, and did:
 * `live`: some socket is bound to it; `removed`; `stale`: dead, and not removed since this was a dry run;
 * `spared`: left alone, for a reason of `SPARED`; `gone`: somebody else was first; `failed`: dead, but it could not be removed.
 */
export const socketSchema = v.strictObject({
  path: v.string(),
  /** The path's bytes in base64, when they are no UTF-8. */
  path_base64: v.optional(v.string()),
  verdict: v.picklist(["live", "removed", "stale", "spared", "gone", "failed"]),
  /** For `spared`. */
  reason: v.optional(v.picklist(SPARED)),
  /** In words. */
  detail: v.optional(v.string()),
  /** `device:inode`. */
  inode: v.optional(v.string()),
  uid: v.optional(v.number()),
  /** Since its name or inode was last changed. */
  age_seconds: v.optional(v.number()),
})

/** How a dead socket is removed in a directory: `exact` cannot remove another than that one, `re-checked` might. */
export const removalSchema = v.picklist(["exact", "re-checked"])

const count = v.pipe(v.number(), v.integer(), v.minValue(0))

/** How many sockets there were of each kind. */
export const totalsSchema = v.strictObject({
  examined: count,
  live: count,
  stale: count,
  removed: count,
  gone: count,
  spared: v.record(v.picklist(SPARED), count),
  errors: count,
})

/** What a sweep did in one directory. */
export const directorySchema = v.strictObject({
  path: v.string(),
  path_base64: v.optional(v.string()),
  state: v.picklist(["swept", "refused", "busy", "failed"]),
  /** Why it is not swept, or not exactly. */
  detail: v.optional(v.string()),
  hint: v.optional(v.string()),
  file_system: v.optional(v.string()),
  removal: v.optional(removalSchema),
  sockets: v.array(socketSchema),
})

export type SparedReason = (typeof SPARED)[number]
export type SocketVerdict = v.InferOutput<typeof socketSchema>
export type DirectoryReport = v.InferOutput<typeof directorySchema>
export type Removal = v.InferOutput<typeof removalSchema>
export type Totals = v.InferOutput<typeof totalsSchema>

/** Totals of nothing. */
export function noTotals(): Totals {
  const spared = Object.fromEntries(SPARED.map((reason) => [reason, 0])) as Totals["spared"]
  return { examined: 0, live: 0, stale: 0, removed: 0, gone: 0, spared, errors: 0 }
}

/** Adds one socket. What was dead counts as stale, removed or not. */
export function addVerdict(totals: Totals, { verdict, reason }: Pick<SocketVerdict, "verdict" | "reason">): void {
  totals.examined++
  if (verdict === "live") totals.live++
  if (verdict === "gone") totals.gone++
  if (verdict === "removed") totals.removed++
  if (verdict === "removed" || verdict === "stale" || verdict === "failed") totals.stale++
  if (verdict === "failed" || reason === "unknown") totals.errors++
  if (reason !== undefined) totals.spared[reason] = (totals.spared[reason] ?? 0) + 1
}
