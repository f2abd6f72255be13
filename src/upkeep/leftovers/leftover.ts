import * as v from "valibot"
import { failureSchema } from "../../base/terms/failureSchema.ts"

// This room finds what bears banger's mark and no VM's record names, and removes it. Its rule: what anything speaks for
// stays (a process, a mount, an open file, its age, another banger's mark), and so does what cannot be told.

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
 * Something that no record speaks for, and what became of it. `dead`: it would be removed, but nothing was done yet;
 * `alive`: a process, a mount or an open file speaks for it; `kept`: it is young, busy, or another banger's; `unknown`:
 * nothing tells whether it is dead; `failed`: it is dead, and could not be removed.
 */
export const leftoverSchema = v.strictObject({
  kind: v.picklist(KINDS),
  /** Its path, or its name where it has none. */
  name: v.string(),
  /** The VM it was made for, where that is known. */
  vm: v.optional(v.string()),
  is: v.picklist(["removed", "dead", "alive", "kept", "unknown", "failed"]),
  why: v.string(),
  hint: v.optional(v.string()),
  /** The failure that made it `unknown` or `failed`, where one did. */
  error: v.optional(failureSchema),
})

export type Leftover = v.InferOutput<typeof leftoverSchema>
export type LeftoverKind = Leftover["kind"]

/** What is known of a leftover before anything is done about it, and why. */
export type Verdict = Pick<Leftover, "why" | "hint" | "error"> & { readonly is: "dead" | "alive" | "kept" | "unknown" }

/** How old things must be, in milliseconds, and whether anything is done. */
export interface LeftoverRules {
  readonly grace: number
  readonly dryRun: boolean
}

/**
 * A thing without a mark is left alone for at least this long, in milliseconds: a banger makes a thing and marks it in two
 * calls.
 */
export const UNMARKED_GRACE_MS = 60_000

/** Whether somebody must know of a thing that this became of. */
export function isTrouble({ is }: { readonly is: string }): boolean {
  return is === "unknown" || is === "failed"
}
