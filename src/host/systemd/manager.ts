import { readFileSync } from "node:fs"
import { givenEnvironment, ownEnvironment } from "../../base/linux/environment.ts"
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

/** A process that may be a manager's. */
export interface Started {
  readonly pid: number
  /** Whether the process that has started it is a manager of systemd's. */
  readonly byManager: () => boolean
}

/**
 * What a manager has told a process by its environment (sd_notify(3), sd_watchdog_enabled(3)), also where `hideManager` has moved it.
 * Undefined where that was told to another process, which this one has it from: a job of some service must not speak for the
 * service. Pure.
 */
export function managerOf(
  env: Readonly<Record<string, string | undefined>>,
  { pid, byManager }: Started,
): Manager | undefined {
  const [, owner, watchdog = "", hidden] = /^(\d+) (\d*) (.+)$/s.exec(env[HIDDEN] ?? "") ?? []
  if (hidden !== undefined && Number(owner) === pid) return { socket: hidden, watchdogUs: microseconds(watchdog) }
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = env
  if (NOTIFY_SOCKET === undefined || NOTIFY_SOCKET === "" || !isMain(env, { pid, byManager })) return undefined
  const watched = WATCHDOG_PID === undefined || Number(WATCHDOG_PID) === pid
  return { socket: NOTIFY_SOCKET, watchdogUs: watched ? microseconds(WATCHDOG_USEC ?? "") : undefined }
}

/** This process. */
export function thisProcess(): Started {
  return { pid: process.pid, byManager: () => process.ppid === 1 || nameOf(process.ppid) === "systemd" }
}

/**
 * Where a manager has told somebody something: becomes this very program again, with what is for this process under a name that
 * names it, and without the rest. What a plugin starts would inherit it otherwise, and could speak for this process, or for a service
 * that this one is a job of. Where the kernel refuses, nothing changes.
 */
export function hideManager(words: readonly string[]): void {
  const env = givenEnvironment()
  if (env[HIDDEN] !== undefined) return
  const manager = managerOf(env, thisProcess())
  const hidden = manager && { [HIDDEN]: `${process.pid} ${manager.watchdogUs ?? ""} ${manager.socket}` }
  const [path = "", ...own] = selfArgv()
  try {
    replaceProgram({ path, argv: ["banger", ...own, ...words], env: { ...ownEnvironment(), ...hidden } })
  } catch {
    // It is used as it is.
  }
}

// --- internal ---

const HIDDEN = "BANGER_SERVICE"

/**
 * Whether a process is the main process of its service. systemd 248 and later says which process it has started (systemd.exec(5),
 * SYSTEMD_EXEC_PID), and to a control process which one is the main process. Before, the main process is a child of the manager's.
 * Who has put a socket of its own between says nothing of that, and what it says is for the process that it starts.
 */
function isMain(env: Readonly<Record<string, string | undefined>>, { pid, byManager }: Started): boolean {
  const { NOTIFY_SOCKET = "", SYSTEMD_EXEC_PID, MAINPID } = env
  if (!SYSTEMDS.test(NOTIFY_SOCKET)) return true
  if (MAINPID !== undefined && Number(MAINPID) !== pid) return false
  return SYSTEMD_EXEC_PID === undefined ? byManager() : Number(SYSTEMD_EXEC_PID) === pid
}

/** The socket of the host's manager, or of a user's, of every systemd since 231. */
const SYSTEMDS = /\/systemd\/notify$/

function microseconds(text: string): number | undefined {
  const value = Number(text)
  return /^\d+$/.test(text) && Number.isSafeInteger(value) && value > 0 ? value : undefined
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "latin1").trimEnd()
  } catch {
    // It has ended.
    return ""
  }
}
