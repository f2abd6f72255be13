import { fileAgeMs } from "../../base/linux/clock.ts"
import { inodeOf } from "../../base/linux/files.ts"
import { endIn } from "../../base/linux/signals.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { textOfPath } from "../../base/terms/printable.ts"
import { joinPath } from "../../host/sockets/directory.ts"
import type { Settings } from "../../host/sockets/sweepDirectory.ts"
import { LOAD_MAX_MS, loadGuard } from "../../inputs/plugin/load.ts"
import { trustOf } from "../../inputs/plugin/trust.ts"
import { inOrder, runHook } from "../../supervisor/hooks/callHook.ts"

/** A hook that ran out of time has this much longer, in milliseconds, to let other code run. */
const HOOK_GRACE_MS = 3000

/**
 * Loads a plugin and asks its `sweepCandidate` hooks about each dead socket. A hook that throws, takes too long or returns
 * junk makes the socket `unknown`, so that it stays. A hook that never yields ends this process by SIGALRM; the kernel
 * releases all that a sweep holds. Throws a failure when there is no such plugin or hook.
 */
export async function hookVeto(file: string, log: Log): Promise<NonNullable<Settings["veto"]>> {
  const guard = await within(LOAD_MAX_MS, () =>
    loadGuard(file, trustOf(process.geteuid?.() ?? 0, process.env.SUDO_UID)),
  )
  const interrupt = new AbortController().signal
  return async (directory, { name, stat }) => {
    const path = textOfPath(joinPath(directory.path, name)).text
    const about = { path, uid: stat.uid, inode: inodeOf(stat), ageSeconds: Math.floor(fileAgeMs(stat) / 1000) }
    for (const hooks of inOrder(guard, "sweepCandidate")) {
      try {
        const answer = await within(guard.limit, () => {
          const call = (signal: AbortSignal) => hooks.sweepCandidate?.({ ...about, log, signal })
          return runHook("sweepCandidate", { limit: guard.limit, interrupt }, call)
        })
        if (answer === "keep") return { is: "kept", reason: "hook", why: "a sweepCandidate hook keeps it" }
        if (answer !== undefined) {
          const words = `sweepCandidate returned ${Bun.inspect(answer)}; allowed: "keep" or nothing`
          throw new Failure("HOOK_FAILED", words, { subject: "sweepCandidate" })
        }
      } catch (error) {
        return { is: "unknown", why: messageOf(error) }
      }
    }
    return undefined
  }
}

// --- internal ---

async function within<T>(limit: number, work: () => T): Promise<Awaited<T>> {
  endIn(Math.ceil((limit + HOOK_GRACE_MS) / 1000))
  try {
    return await work()
  } finally {
    endIn(0)
  }
}
