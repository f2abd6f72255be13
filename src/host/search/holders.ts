import { readdirSync, readFileSync } from "node:fs"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, statPath } from "../../base/linux/files.ts"
import { Failure, type FailureDetail, messageOf } from "../../base/terms/failure.ts"
import { openPid, type PidRef } from "../process/pidRef.ts"
import { parsePermitted, readProcess } from "../process/procfs.ts"

/**
 * The processes whose standard output is this very file (same device and inode): for a file of ours that nobody else
 * can open, those we started. What is read of each is read while it is held, and it is looked at again
 * afterwards, so it cannot be another process's. The caller closes them. Throws a failure, with none left open, when it
 * cannot be told of a process.
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

/** The failure of a process of which it could not be found out whether it is a VM. */
export function processUnknown(pid: number, why: string, detail: FailureDetail = {}): Failure {
  const hint = detail.hint ?? `look at it, and end it if it is this VM's: kill -9 ${pid}; or try again`
  return new Failure("FAILED", `cannot tell whether process ${pid} is this VM: ${why}`, { ...detail, hint })
}

/** Which file a path leads to, as `device:inode`; undefined when there is none. */
export function targetOf(path: string): string | undefined {
  return unlessAbsent(() => inodeOf(statPath(path)))
}

/**
 * Whether a process has this file (`device:inode`) as its standard output. Throws a failure when it cannot be told, unless
 * it is surely none that we started.
 */
export function writesTo(pid: number, target: string): boolean {
  try {
    return inodeOf(statPath(`/proc/${pid}/fd/1`)) === target
  } catch (error) {
    const code = errorCode(error)
    // Gone meanwhile, or without a standard output.
    if (code === "ENOENT" || code === "ESRCH") return false
    if ((code === "EACCES" || code === "EPERM") && !mayBeOurs(pid)) return false
    throw processUnknown(pid, messageOf(error), { cause: error })
  }
}

/** Whether a process whose descriptors are hidden from us may be one that we started. */
export function mayBeOurs(pid: number): boolean {
  // To another user everything is hidden but what that user started.
  if (process.geteuid?.() !== 0) return false
  // Root is refused what has more capabilities, which nothing that it started can have; else it cannot tell.
  const [theirs, own] = [pid, "self" as const].map((who) => parsePermitted(statusOf(who)))
  return theirs === undefined || own === undefined || (theirs & ~own) === 0n
}

// --- internal ---

/** Empty when it is gone by now. */
function statusOf(pid: number | "self"): string {
  return unlessAbsent(() => readFileSync(`/proc/${pid}/status`, "latin1"), ["ENOENT", "ESRCH"]) ?? ""
}

/** Undefined when it is gone by now. */
function hold(pid: number, target: string): PidRef | undefined {
  using process = openPid(pid)
  if (process === undefined) return undefined
  const why = doubt(pid, target)
  if (process.hasExited()) return undefined
  if (why !== undefined) throw processUnknown(pid, why)
  return process.move()
}

/** What is not as it must be, undefined when nothing. */
function doubt(pid: number, target: string): string | undefined {
  try {
    if (!writesTo(pid, target)) return "its standard output has changed"
    const { startTime, uid } = readProcess(pid)
    return startTime === undefined || uid === undefined ? `/proc/${pid} cannot be read` : undefined
  } catch (error) {
    return messageOf(error)
  }
}
