import { readdirSync, readFileSync } from "node:fs"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, statPath } from "../../base/linux/files.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { openPid, type PidRef } from "../process/pidRef.ts"
import { parsePermitted, readProcess } from "../process/procfs.ts"

/**
 * The processes whose standard output is this very file (same device and inode). For a file that only this user can open,
 * those are the ones that this user started. The caller closes them. Throws LIVENESS_UNKNOWN, with none left open, when
 * it cannot be told of one.
 */
export function holdersOf(path: string): readonly PidRef[] {
  const target = targetOf(path)
  if (target === undefined) return []
  const pids = readdirSync("/proc")
    .filter((name) => /^[1-9]\d*$/.test(name))
    .map(Number)
  using unlessWhole = new DisposableStack()
  const holders = pids
    .filter((pid) => pid !== process.pid && writesTo(pid, target))
    .flatMap((pid) => unlessWhole.use(hold(pid, target)) ?? [])
  unlessWhole.move()
  return holders
}

/** Why it cannot be told whether a VM runs: this process may be its VMM. */
export function mayBeIt(pid: number, why: string): string {
  return `process ${pid} may be it: ${why}`
}

/** The hint about a process that may be a VM's VMM. */
export function endItHint(pid: number): string {
  return `look at it, and end it if it is this VM's: kill -9 ${pid}; or try again`
}

/** Which file a path leads to, as `device:inode`; undefined when there is none. */
export function targetOf(path: string): string | undefined {
  return unlessAbsent(() => inodeOf(statPath(path)))
}

/**
 * Whether a process has this file (`device:inode`) as its standard output. Throws LIVENESS_UNKNOWN when that cannot be
 * told and banger may have started the process.
 */
export function writesTo(pid: number, target: string): boolean {
  try {
    return inodeOf(statPath(`/proc/${pid}/fd/1`)) === target
  } catch (error) {
    const code = errorCode(error)
    // It has ended, or has no standard output.
    if (code === "ENOENT" || code === "ESRCH") return false
    if ((code === "EACCES" || code === "EPERM") && !mayBeOurs(pid)) return false
    throw unproven(pid, messageOf(error), error)
  }
}

/** Whether banger may have started a process whose descriptors are hidden from us. */
export function mayBeOurs(pid: number): boolean {
  // From a user who is not root, only what other users started is hidden.
  if (process.geteuid?.() !== 0) return false
  // Root is refused a look at a process with more capabilities than it has itself. It cannot have started one.
  const [theirs, own] = [pid, "self" as const].map((who) => parsePermitted(statusOf(who)))
  return theirs === undefined || own === undefined || (theirs & ~own) === 0n
}

// --- internal ---

function unproven(pid: number, why: string, cause?: unknown): Failure {
  return new Failure("LIVENESS_UNKNOWN", mayBeIt(pid, why), { subject: `${pid}`, hint: endItHint(pid), cause })
}

/** Empty when it has ended. */
function statusOf(pid: number | "self"): string {
  return unlessAbsent(() => readFileSync(`/proc/${pid}/status`, "latin1"), ["ENOENT", "ESRCH"]) ?? ""
}

/** Undefined when it has ended. */
function hold(pid: number, target: string): PidRef | undefined {
  using process = openPid(pid)
  if (process === undefined) return undefined
  const why = doubt(pid, target)
  if (process.hasExited()) return undefined
  if (why !== undefined) throw unproven(pid, why)
  return process.move()
}

/** What is not as it was at the first look; undefined when nothing. */
function doubt(pid: number, target: string): string | undefined {
  try {
    if (!writesTo(pid, target)) return "its standard output has changed"
    const { startTime, uid } = readProcess(pid)
    return startTime === undefined || uid === undefined ? `/proc/${pid} cannot be read` : undefined
  } catch (error) {
    return messageOf(error)
  }
}
