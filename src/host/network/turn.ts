import { withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { takeLock, withLock } from "../../store/files/lock.ts"

/** One lock for all bangers of this host, which share its interfaces. Only root can make a file in /run. */
const LOCK = "/run/banger-network.lock"

/** Each holder needs some hundredths of a second, and a hundred may stand in line. */
const LOCK_WAIT_MS = 45_000

/** Runs `work` while no other banger of this host changes its network. */
export function withNetworkLock<T>(work: () => T): T {
  return withLock(LOCK, work, LOCK_WAIT_MS)
}

/** As `withNetworkLock`, but this thread does other work while it waits, and `interrupt` ends the wait. */
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

/** How long to wait before trying again. */
const RETRY_MS = 10
