import { procPath } from "../../base/linux/access.ts"
import { LOCK, O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errnoName, errorCode } from "../../base/linux/errors.ts"
import { close, flock, isType, lockWhole, statDescriptor, tryOpenAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"

/** What became of a lock file beside a socket: there is none, another holds it, it was taken, or this cannot be told. */
export type LockBeside =
  | { readonly is: "none" | "held" }
  | { readonly is: "taken"; readonly fd: number }
  | { readonly is: "unknown"; readonly why: string }

/**
 * Takes `<name>.lock`, if there is one, without waiting: by flock(2) and by fcntl(2), as servers use either. The lock is
 * held until the caller closes its descriptor. The file is neither made nor removed.
 */
export function takeLockBeside(dir: number, name: Uint8Array): LockBeside {
  const pinned = tryOpenAt(dir, new Uint8Array([...name, ...SUFFIX]), O.PATH | O_NOFOLLOW)
  if (pinned < 0) {
    const code = errnoName(-pinned)
    return NO_LOCK.includes(code) ? { is: "none" } : unknown(code)
  }
  return withDescriptor(pinned, () => {
    const stat = statDescriptor(pinned)
    if (isType(stat, S.IFLNK)) return { is: "unknown", why: "its lock is a symlink" }
    // A directory, a socket, a FIFO: nobody locks these.
    if (!isType(stat, S.IFREG)) return { is: "none" }
    // Whoever may write here can give this name to any file of the file system, which would be locked instead.
    if (stat.nlink > 1) return { is: "unknown", why: `its lock has ${stat.nlink} names` }
    return lockPinned(pinned)
  })
}

// --- internal ---

/** Opens the file that was examined, by its descriptor, and locks it. */
function lockPinned(pinned: number): LockBeside {
  const path = procPath(pinned)
  let fd = tryOpenAt(AT_FDCWD, path, O.RDWR | O.NONBLOCK)
  const writable = fd >= 0
  if (!writable && NOT_WRITABLE.includes(errnoName(-fd))) fd = tryOpenAt(AT_FDCWD, path, O.RDONLY | O.NONBLOCK)
  if (fd < 0) return unknown(errnoName(-fd))
  try {
    flock(fd, LOCK.EX | LOCK.NB)
    lockWhole(fd, writable)
    return { is: "taken", fd }
  } catch (error) {
    close(fd)
    const code = errorCode(error)
    return code === "EAGAIN" || code === "EACCES" ? { is: "held" } : unknown(code)
  }
}

function unknown(code: string | undefined): LockBeside {
  return { is: "unknown", why: `its lock cannot be tried: ${code}` }
}

const SUFFIX = new TextEncoder().encode(".lock")

/** There is no such file, or the name would be too long. */
const NO_LOCK: readonly string[] = ["ENOENT", "ENAMETOOLONG"]
const NOT_WRITABLE: readonly string[] = ["EACCES", "EPERM", "EROFS"]
