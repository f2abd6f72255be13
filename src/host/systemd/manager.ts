import { givenEnvironment } from "../../base/linux/environment.ts"
import { replaceProgram } from "../../base/linux/exec.ts"
import { selfArgv } from "../process/self.ts"

// The room systemd: what this program says to systemd and asks of it, in systemd's own protocols.
// The rule: it is never needed, never believed, and never waited for long.

/** What a service manager has told this process alone. */
export interface Manager {
  /** A path, or `@` and a name of the abstract namespace. */
  readonly socket: string
  /** It takes this process for hung when it is not heard for so many microseconds. */
  readonly watchdogUs: number | undefined
}

/**
 * What a manager has told the process with this pid, by its environment (sd_notify(3), sd_watchdog_enabled(3)), also where
 * `hideManager` has moved it. Pure.
 */
export function managerOf(env: Readonly<Record<string, string | undefined>>, pid: number): Manager | undefined {
  const [, owner, watchdog = "", hidden] = /^(\d+) (\d*) (.+)$/s.exec(env[HIDDEN] ?? "") ?? []
  if (hidden !== undefined && Number(owner) === pid) return { socket: hidden, watchdogUs: microseconds(watchdog) }
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = env
  if (NOTIFY_SOCKET === undefined || NOTIFY_SOCKET === "") return undefined
  const watched = WATCHDOG_PID === undefined || Number(WATCHDOG_PID) === pid
  return { socket: NOTIFY_SOCKET, watchdogUs: watched ? microseconds(WATCHDOG_USEC ?? "") : undefined }
}

/**
 * Where a manager has told this process something: becomes this very program again, with that under a name that names the process.
 * What a plugin starts would inherit it otherwise, and could speak for this process. Where the kernel refuses, nothing changes.
 */
export function hideManager(words: readonly string[]): void {
  const env = givenEnvironment()
  const manager = managerOf(env, process.pid)
  if (manager === undefined || env[HIDDEN] !== undefined) return
  const { NOTIFY_SOCKET: _, WATCHDOG_USEC: __, WATCHDOG_PID: ___, ...others } = env
  const hidden = `${process.pid} ${manager.watchdogUs ?? ""} ${manager.socket}`
  const [path = "", ...own] = selfArgv()
  try {
    replaceProgram({ path, argv: ["banger", ...own, ...words], env: { ...others, [HIDDEN]: hidden } })
  } catch {
    // It is used as it is.
  }
}

// --- internal ---

const HIDDEN = "BANGER_SERVICE"

function microseconds(text: string): number | undefined {
  const value = Number(text)
  return /^\d+$/.test(text) && Number.isSafeInteger(value) && value > 0 ? value : undefined
}
