import { makeMutable, procPath } from "../../base/linux/access.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { isType, openAt, openBeneath, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD, type Path } from "../../base/linux/guards.ts"

/**
 * Clears the immutable and append-only flags of a directory and of what has this name in it, and returns whether that
 * was possible for either. A file with several names may be somebody else's, and is left alone; a device is never opened.
 */
export function makeMutableAt(dir: number, name: Path): boolean {
  const inside = attempt(() => withDescriptor(openBeneath(dir, name, O.PATH | O_NOFOLLOW), clear))
  const outside = attempt(() => withDescriptor(openBeneath(dir, ".", O.PATH), clear))
  return inside || outside
}

// --- internal ---

function clear(fd: number): void {
  const stat = statDescriptor(fd)
  const own = isType(stat, S.IFDIR) || (isType(stat, S.IFREG) && stat.nlink === 1)
  if (own) withDescriptor(openAt(AT_FDCWD, procPath(fd), O.RDONLY), makeMutable)
}

function attempt(work: () => void): boolean {
  try {
    work()
    return true
  } catch (error) {
    // The caller reports what it cannot remove; that the flags cannot be changed adds nothing.
    if (errorCode(error) === undefined) throw error
    return false
  }
}
