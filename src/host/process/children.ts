import { pidfdExited, pidfdExitStatus, reapChild } from "../../base/linux/pidfd.ts"
import { decodeStatus, type ExitStatus } from "./exitStatus.ts"

/**
 * Resolves when a child of this process has ended, and waits for it (waitid(2)): from then on its pid may become another's. The
 * kernel tells by SIGCHLD, so that nothing is asked again and again, and no thread waits. Never rejects; does not keep this
 * process. The caller does not close the pidfd before.
 */
export function childExit(pidfd: number): Promise<ExitStatus> {
  return new Promise((resolve) => {
    if (waiting.size === 0) process.on("SIGCHLD", look)
    waiting.set(pidfd, resolve)
    // It may have ended before the signal was listened to.
    look()
  })
}

// --- internal ---

const waiting = new Map<number, (status: ExitStatus) => void>()

/** One signal may stand for the ends of several. */
function look(): void {
  for (const [pidfd, tell] of waiting) {
    const status = reapChild(pidfd) ?? (pidfdExited(pidfd) ? waitedForElsewhere(pidfd) : undefined)
    if (status === undefined) continue
    waiting.delete(pidfd)
    tell(status === "unknown" ? { code: null, signal: null } : decodeStatus(status))
  }
  if (waiting.size === 0) process.off("SIGCHLD", look)
}

/** Code of a plugin may wait for all children that there are. */
function waitedForElsewhere(pidfd: number): number | "unknown" {
  return reapChild(pidfd) ?? pidfdExitStatus(pidfd) ?? "unknown"
}
