import { withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { takeLock, withLock } from "../../store/files/lock.ts"

/**
 * One for all of this host, whatever state directories its bangers have: they share its interfaces. In /run, where only
 * root can make a file.
 */
const LOCK = "/run/banger-network.lock"

/** Each holds it for some hundredths of a second; a hundred of them may stand in line. In milliseconds. */
const LOCK_WAIT_MS = 45_000

/** Runs `work` while no other banger of this host changes its network. */
export function withNetworkLock<T>(work: () => T): T {
  return withLock(LOCK, work, LOCK_WAIT_MS)
}

/** As `withNetworkLock`, but for the wait, during which this thread goes on, and which `interrupt` ends. */
export async function inNetworkTurn<T>(interrupt: AbortSignal, work: () => T): Promise<T> {
  const deadline = performance.now() + LOCK_WAIT_MS
  for (;;) {
    interrupt.throwIfAborted()
    const fd = takeLock(LOCK)
    if (fd !== undefined) return withDescriptor(fd, work)
    if (performance.now() >= deadline) {
      const hint = `find who holds it: fuser -v ${LOCK}; end it if it is stuck, then try again`
      const message = `another process has held ${LOCK} for ${formatDuration(LOCK_WAIT_MS)}`
      throw new Failure("BUSY", message, { hint, subject: LOCK })
    }
    await Bun.sleep(RETRY_MS)
  }
}

// --- internal ---

/** How long to wait, in milliseconds, before trying again. */
const RETRY_MS = 10
