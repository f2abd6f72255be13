import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import {
  close,
  inodeOf,
  openAt,
  statAt,
  statDescriptor,
  tryFlock,
  verified,
  withDescriptor,
} from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"

/** Such a lock is held for milliseconds. A process that keeps it this long, in milliseconds, is stuck. */
const LOCK_WAIT_MS = 10_000

/** How long to wait, in milliseconds, before trying again. */
const RETRY_MS = 10

/**
 * Waits for a lock file, runs `work`, and unlocks. The file stays. Throws a failure when another process still holds the
 * lock after `patienceMs`.
 */
export function withLock<T>(path: string, work: () => T, patienceMs: number = LOCK_WAIT_MS): T {
  const deadline = performance.now() + patienceMs
  for (;;) {
    const fd = takeLock(path)
    if (fd !== undefined) return withDescriptor(fd, work)
    if (performance.now() >= deadline) throw stuck(path, patienceMs)
    Bun.sleepSync(RETRY_MS)
  }
}

/**
 * Locks a VM without waiting (flock(2) on a file that is never unlinked). Returns the descriptor that holds the lock until
 * it is closed or this process ends; undefined when another process holds the lock. Whoever acts on a VM locks it.
 */
export function takeLock(path: string): number | undefined {
  return takeAt(AT_FDCWD, path)
}

/**
 * As `takeLock`, for a lock file that its holder, and nobody else, removes or renames. The lock that is returned is of the
 * file that has the name: a file that lost its name before it was locked keeps nobody out.
 */
export function takeNamedLock(dir: number, name: string): number | undefined {
  for (;;) {
    const fd = takeAt(dir, name)
    if (fd === undefined) return undefined
    let named: Stat | undefined
    verified(fd, () => {
      named = unlessAbsent(() => statAt(dir, name))
    })
    if (named !== undefined && inodeOf(named) === inodeOf(statDescriptor(fd))) return fd
    close(fd)
  }
}

// --- internal ---

function takeAt(dir: number, path: string): number | undefined {
  const fd = openAt(dir, path, O.RDWR | O.CREAT | O_NOFOLLOW, 0o600)
  let locked = false
  verified(fd, () => {
    locked = tryFlock(fd)
  })
  if (locked) return fd
  close(fd)
  return undefined
}

function stuck(path: string, patienceMs: number): Failure {
  const hint = `find who holds it: ${shellWords(["fuser", "-v", path])}; end it if it is stuck, then try again`
  const message = `another process keeps ${path} locked: waited ${patienceMs / 1000} s for it`
  return new Failure("BUSY", message, { hint, subject: path })
}
