import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { close, isType, openAt, statDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"

/**
 * Opens (O_PATH) a directory whose path only root and this user can change. From `/` on, each component must be a
 * directory, not a symlink, owned by root or this user, and not writable by others; a sticky directory (`/tmp`) may be on
 * the way, but not at the end. Throws a failure that names the component at fault, or a system error (ENOENT). The caller
 * closes the descriptor.
 */
export function pinDirectory(path: string): number {
  const parts = path.split("/").filter((part) => part !== "")
  let fd = openAt(AT_FDCWD, "/", O.PATH | O_DIRECTORY)
  let reached = ""
  try {
    requireTrusted(statDescriptor(fd), "/", parts.length === 0)
    for (const [index, part] of parts.entries()) {
      reached += `/${part}`
      const next = openAt(fd, part, O.PATH | O_NOFOLLOW)
      close(fd)
      fd = next
      requireTrusted(statDescriptor(fd), reached, index === parts.length - 1)
    }
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}

// --- internal ---

function requireTrusted(stat: Stat, path: string, last: boolean): void {
  const own = process.geteuid?.() ?? 0
  const refuse = (why: string, hint: string) => {
    throw new Failure("UNTRUSTED", `${path} ${why}`, { hint, subject: path })
  }
  if (isType(stat, S.IFLNK)) refuse("is a symlink", "name the directory it points to")
  if (!isType(stat, S.IFDIR)) refuse("is not a directory", "use another place")
  if (stat.uid !== 0 && stat.uid !== own)
    refuse(`belongs to uid ${stat.uid}, who could swap what is in it`, "use another place")
  const crossable = !last && (stat.mode & S.ISVTX) !== 0
  if ((stat.mode & 0o022) !== 0 && !crossable)
    refuse("can be written by others", `run: ${shellWords(["chmod", "go-w", path])}, or use another place`)
}
