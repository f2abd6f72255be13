import * as v from "valibot"

/** What bears banger's mark, or is in its directories under a name of its own. */
const KINDS = [
  "jail",
  "cgroup",
  "runtime",
  "vm",
  "uid",
  "lease",
  "tap",
  "veth",
  "bridge",
  "table",
  "network",
  "log",
  "temporary",
  "lock",
] as const

/**
 * Something that no record speaks for, and what became of it. `dead`: it would be removed, but this was a dry run; `alive`:
 * a process, a mount or an open file speaks for it; `kept`: it is young, busy, or another banger's.
 */
export const leftoverSchema = v.strictObject({
  kind: v.picklist(KINDS),
  /** Its path, or its name where it has none. */
  name: v.string(),
  vm: v.optional(v.string()),
  is: v.picklist(["removed", "dead", "alive", "kept", "unknown", "failed"]),
  why: v.string(),
  hint: v.optional(v.string()),
})

export type Leftover = v.InferOutput<typeof leftoverSchema>
export type LeftoverKind = Leftover["kind"]

/** What is thought of a thing before anything is done about it. */
export interface Verdict {
  readonly is: "dead" | "alive" | "kept" | "unknown"
  readonly why: string
  readonly hint?: string | undefined
}

/** How old things must be, in milliseconds, and whether anything is done. */
export interface LeftoverRules {
  readonly grace: number
  readonly dryRun: boolean
}

/**
 * What does not say whose it is, is left alone for this long at least, in milliseconds: a banger makes a thing and marks
 * it in two calls.
 */
export const UNMARKED_GRACE_MS = 60_000
