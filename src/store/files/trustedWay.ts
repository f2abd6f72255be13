import { readlinkSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { close, isType, openAt, statDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"

/** Where a path leads. */
export interface Way {
  /** The path without symlinks. */
  readonly real: string
  /** How many components at its end are not there yet. */
  readonly missing: number
}

/** How a way is judged. */
export interface WayOptions {
  /** More users whose directories and symlinks may be on it. */
  readonly owners?: readonly number[]
  /** Whether what is at its end is judged too: then not even a sticky directory there may be open to others. */
  readonly end?: boolean
}

/**
 * Looks at the whole way to a directory, which need not be there, and resolves it: each directory on it, and each symlink, must be
 * root's, this user's or one of `owners`', and none may be open to others' writing (but sticky ones, as `/tmp`, in which others can move nothing of
 * ours). Makes nothing. Throws UNTRUSTED, with the command that mends it, for the component at fault; a system error (EACCES) where
 * it cannot be looked at. A user's own directories may be open to a group: that is how many systems make them.
 */
export function trustedWay(path: string, { owners = [], end = false }: WayOptions = {}): Way {
  const trusted = { owners: [0, process.geteuid?.() ?? 0, ...owners], path }
  let left = partsOf(resolve(path))
  let followed = 0
  let real: readonly string[] = []
  let fd = openAt(AT_FDCWD, "/", O.PATH | O_DIRECTORY)
  try {
    requireTrusted(statDescriptor(fd), "/", trusted)
    for (let [part, ...rest] = left; part !== undefined; [part, ...rest] = left) {
      const here = `/${[...real, part].join("/")}`
      const next = openNext(fd, part)
      if (next === undefined) return { real: `/${[...real, ...left].join("/")}`, missing: left.length }
      const stat = statDescriptor(next)
      left = rest
      if (isType(stat, S.IFLNK)) {
        close(next)
        requireOwner(stat, here, trusted)
        if (followed++ === SYMLINKS_MAX_COUNT)
          throw untrusted(here, path, { why: "is one symlink too many", mend: "name its target" })
        // From the top again: its target may lead up.
        left = partsOf(resolve(dirname(here), readlinkSync(here), ...rest))
        real = []
        const top = openAt(AT_FDCWD, "/", O.PATH | O_DIRECTORY)
        close(fd)
        fd = top
        continue
      }
      close(fd)
      fd = next
      real = [...real, part]
      // Mostly what is at its end is judged by whoever wants to use it.
      if (left.length > 0) requireTrusted(stat, here, trusted)
      else if (end) requireTrusted(stat, here, { ...trusted, sticky: false })
    }
    return { real: `/${real.join("/")}`, missing: 0 }
  } finally {
    close(fd)
  }
}

// --- internal ---

/** As many symlinks as the kernel itself follows (path_resolution(7)). */
const SYMLINKS_MAX_COUNT = 40

function partsOf(path: string): readonly string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".")
}

function openNext(dir: number, part: string): number | undefined {
  try {
    return openAt(dir, part, O.PATH | O_NOFOLLOW)
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined
    throw error
  }
}

/** Who is trusted, on the way to what; `sticky`: whether a sticky directory may be open to others. */
interface Trusted {
  readonly owners: readonly number[]
  readonly path: string
  readonly sticky?: boolean
}

function requireTrusted(stat: Stat, here: string, trusted: Trusted): void {
  const { path, sticky = true } = trusted
  if (!isType(stat, S.IFDIR))
    throw untrusted(here, path, { why: "is not a directory", mend: shellWords(["mv", here, `${here}.away`]) })
  requireOwner(stat, here, trusted)
  const others = process.geteuid?.() === 0 ? 0o022 : 0o002
  if ((stat.mode & others) !== 0 && !(sticky && (stat.mode & S.ISVTX) !== 0))
    throw untrusted(here, path, { why: "can be written by others", mend: shellWords(["chmod", "go-w", here]) })
}

function requireOwner(stat: Stat, here: string, { owners, path }: Trusted): void {
  if (owners.includes(stat.uid)) return
  const mend = process.geteuid?.() === 0 ? shellWords(["chown", "-h", "root", here]) : "use another place"
  throw untrusted(here, path, { why: `belongs to uid ${stat.uid}, who could swap what is in it`, mend })
}

function untrusted(here: string, path: string, { why, mend }: { why: string; mend: string }): Failure {
  const on = here === path ? "" : `, on the way to ${path}`
  const hint = /^(?:use|name) /.test(mend) ? mend : `run: ${mend}; or use another place`
  return new Failure("UNTRUSTED", `${here} ${why}${on}`, { hint, subject: here })
}
