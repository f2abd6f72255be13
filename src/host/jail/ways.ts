import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Owner } from "./base.ts"

/** How a file gets into a jail. */
export type Way = "bind" | "clone" | "copy" | "link"

/** What is asked for a file. */
export interface StagingWish {
  readonly readonly: boolean
  /** The way the user insists on. */
  readonly way: Way | undefined
}

/**
 * The ways to stage a regular file for a jail's owner, to be tried in this order. A file that is only read is bound
 * read-only, one that is written is a private copy; the source keeps its owner, mode and names. Throws a failure when the
 * way that the user insists on would not be safe, or would not work. Pure.
 */
export function waysFor(
  path: string,
  source: Pick<Stat, "uid" | "gid" | "mode" | "nlink">,
  { owner, ...wish }: StagingWish & { readonly owner: Owner },
): readonly Way[] {
  const own = source.uid === owner.uid && source.nlink === 1
  const refused = (message: string, hint = ALONE) => new Failure("BAD_FILE", message, { hint, subject: path })
  if (wish.way === "link" && !own) {
    throw refused(`${path} cannot be linked into the jail: ${whyNotOwn(source, owner)}`)
  }
  if (wish.way === "bind" && !wish.readonly && !own) {
    throw refused(`${path} cannot be bound writable: ${whyNotOwn(source, owner)}`)
  }
  if (wish.way === "bind" && !readable(source, owner)) {
    throw refused(
      `${path} cannot be bound: uid ${owner.uid} may not read it`,
      'make it readable, or stage it as "copy"',
    )
  }
  if (wish.way !== undefined) return [wish.way]
  return wish.readonly && readable(source, owner) ? ["bind"] : ["clone", "copy"]
}

// --- internal ---

const ALONE =
  "make it the jail uid's alone (chown, and jail: { uid } in the plugin), or leave `stage` and `write` out for a private copy; persist keeps a disk"

function whyNotOwn({ uid, nlink }: Pick<Stat, "uid" | "nlink">, owner: Owner): string {
  return uid === owner.uid ? `it has ${nlink} names` : `it belongs to uid ${uid}, the jail to uid ${owner.uid}`
}

/** Reads the mode bits only: where an access control list allows more, a private copy is staged. */
function readable({ uid, gid, mode }: Pick<Stat, "uid" | "gid" | "mode">, owner: Owner): boolean {
  if (uid === owner.uid) return (mode & 0o400) !== 0
  return (mode & (gid === owner.gid ? 0o040 : 0o004)) !== 0
}
