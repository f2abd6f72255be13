import { LOCK, O, O_NOFOLLOW } from "../linux/constants.ts"
import { errorCode } from "../linux/errors.ts"
import { close, flock, openAt } from "../linux/files.ts"
import { AT_FDCWD } from "../linux/guards.ts"

/** Runs `work` while no other process does so with the same lock file, waiting for its turn. The file stays. */
export function withLock<T>(path: string, work: () => T): T {
  const fd = openAt(AT_FDCWD, path, O.RDWR | O.CREAT | O_NOFOLLOW, 0o600)
  try {
    flock(fd, LOCK.EX)
    return work()
  } finally {
    close(fd)
  }
}

/**
 * Takes a VM's lock (flock(2) on a file that is never unlinked) without waiting: a descriptor that holds it until it
 * is closed or this process ends, or undefined when another process has it. Whoever acts on a VM holds its lock.
 */
export function takeLock(path: string): number | undefined {
  const fd = openAt(AT_FDCWD, path, O.RDWR | O.CREAT | O_NOFOLLOW, 0o600)
  try {
    flock(fd, LOCK.EX | LOCK.NB)
    return fd
  } catch (error) {
    close(fd)
    if (errorCode(error) === "EAGAIN") return undefined
    throw error
  }
}
