import { LOCK, O, O_NOFOLLOW, S } from "../linux/constants.ts"
import { errnoName, errorCode } from "../linux/errors.ts"
import { close, flock, isType, lockWhole, statDescriptor, tryOpenAt } from "../linux/files.ts"

/** What came of a lock file beside a socket: there is none, or it is held, or it was taken, or it cannot be told. */
export type LockBeside =
  | { readonly state: "none" | "held" }
  | { readonly state: "taken"; readonly fd: number }
  | { readonly state: "unknown"; readonly detail: string }

/**
 * Takes `<name>.lock`, if there is one, without waiting: by flock(2) and by fcntl(2), as servers use either. What is taken
 * is held until its descriptor is closed, by the caller. The file is neither made nor removed.
 */
export function takeLockBeside(dir: number, name: Uint8Array): LockBeside {
  const lock = new Uint8Array([...name, ...SUFFIX])
  let fd = tryOpenAt(dir, lock, O.RDWR | O_NOFOLLOW | O.NONBLOCK)
  const writable = fd >= 0
  if (fd < 0 && NOT_WRITABLE.includes(errnoName(-fd))) fd = tryOpenAt(dir, lock, O.RDONLY | O_NOFOLLOW | O.NONBLOCK)
  if (fd < 0) {
    const code = errnoName(-fd)
    return NO_LOCK.includes(code)
      ? { state: "none" }
      : { state: "unknown", detail: `its lock cannot be opened: ${code}` }
  }
  try {
    if (!isType(statDescriptor(fd), S.IFREG)) {
      close(fd)
      return { state: "none" }
    }
    flock(fd, LOCK.EX | LOCK.NB)
    lockWhole(fd, writable)
    return { state: "taken", fd }
  } catch (error) {
    close(fd)
    const code = errorCode(error)
    if (code === "EAGAIN" || code === "EACCES") return { state: "held" }
    return { state: "unknown", detail: `its lock cannot be tried: ${code}` }
  }
}

// --- internal ---

const SUFFIX = new TextEncoder().encode(".lock")

/** No such file, no such name possible, or something that nobody locks: a directory, a socket. */
const NO_LOCK: readonly string[] = ["ENOENT", "ENAMETOOLONG", "EISDIR", "ENXIO"]
const NOT_WRITABLE: readonly string[] = ["EACCES", "EPERM", "EROFS"]
