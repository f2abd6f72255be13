import { LOCK, O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { close, flock, openAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"

/** Who holds a lock that others wait for does so for milliseconds; one that has it this long, in milliseconds, is stuck. */
const LOCK_WAIT_MS = 10_000

/** How long to wait, in milliseconds, before trying again. */
const RETRY_MS = 10

/**
 * Runs `work` while no other process does so with the same lock file, waiting for its turn. The file stays. Throws a
 * failure when the turn does not come in `patience` milliseconds.
 */
export function withLock<T>(path: string, work: () => T, patience: number = LOCK_WAIT_MS): T {
  const deadline = performance.now() + patience
  for (;;) {
    const fd = takeLock(path)
    if (fd !== undefined) return withDescriptor(fd, work)
    if (performance.now() >= deadline) throw stuck(path)
    Bun.sleepSync(RETRY_MS)
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

// --- internal ---

function stuck(path: string): Failure {
  const hint = `find who holds it: fuser -v ${path}; end it if it is stuck, then try again`
  return new Failure("FAILED", `another process does not let go of ${path}`, { hint })
}
