import { readFileSync } from "node:fs"
import { bootId } from "../../base/linux/bootId.ts"
import { bootTimeMs } from "../../base/linux/clock.ts"
import { inodeOf, statPath } from "../../base/linux/files.ts"
import { messageOf } from "../../base/terms/failure.ts"
import type { LivenessAnswer, Unknown } from "../../base/terms/liveness.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import { closing, openPid, type PidRef } from "./pidRef.ts"
import { ownNamespace, parseStartTime, readProcess } from "./procfs.ts"

/** The hint about a VM that was started in another namespace. */
export const ELSEWHERE = "do this in the container that the VM was started in"

/** What is known of a process: proven alive (the caller closes it), proven dead, or neither. */
export type ProcessLiveness = Disposable & Answer

/**
 * The identity of a child that was not waited for yet: its pid is surely still its own. The uid and root directory are
 * ours, and are not read from /proc, which does not tell them of a child that died at once. A jailed child changes to
 * those of its jail (`runsAs`) while it starts.
 */
export function identifyChild(child: PidRef, runsAs?: { uid: number; root: string }): ProcessIdentity {
  const { pid } = child
  const startTime = parseStartTime(readFileSync(`/proc/${pid}/stat`, "latin1"))
  if (startTime === undefined) throw new Error(`/proc/${pid}/stat has no start time`)
  const identity = identityOf(child, { startTime, ...ownPlace() })
  return runsAs === undefined ? identity : { ...identity, runsAs }
}

/** The identity of a process, from facts that were read while it was held. */
export function identityOf(process: PidRef, facts: { startTime: number; uid: number; root: string }): ProcessIdentity {
  const unique = process.inode()
  const [pidNamespace, timeNamespace] = [ownNamespace("pid"), ownNamespace("time")]
  return {
    pid: process.pid,
    ...facts,
    ...(unique && { pidfd: unique }),
    bootId: bootId(),
    ...(pidNamespace && { pidNamespace }),
    ...(timeNamespace && { timeNamespace }),
  }
}

/** Our own uid and root directory. A VMM has them at its start, and without a jail to its end. */
export function ownPlace(): { readonly uid: number; readonly root: string } {
  return { uid: process.geteuid?.() ?? 0, root: inodeOf(statPath("/")) }
}

/** The identity of this process. */
export function identifySelf(): ProcessIdentity {
  using self = openPid(process.pid)
  if (self === undefined) throw new Error(`process ${process.pid}, this one, was not found`)
  return identifyChild(self)
}

/**
 * Whether the very process of an identity still runs. Facts are read while the process is held, and it is looked at again
 * afterwards: they cannot be another process's. "unknown" where /proc refuses an answer. Throws nothing.
 */
export function processLiveness(identity: ProcessIdentity): ProcessLiveness {
  return closing(look(identity))
}

/**
 * Whether a process surely runs, by its pidfd's inode alone, which no other process of this boot has: quick, for a look at
 * many. False proves nothing; `processLiveness` tells more.
 */
export function surelyRuns({ bootId: boot, pid, pidfd: inode }: ProcessIdentity): boolean {
  if (inode === undefined || boot !== bootId()) return false
  try {
    using process = openPid(pid)
    return process !== undefined && process.inode() === inode && !process.hasExited()
  } catch {
    // processLiveness tells what is wrong.
    return false
  }
}

/** Milliseconds since a process of this boot started, given its start time: whatever the host's clock was set to. */
export function ranMs(startTime: number, nowMs: number = bootTimeMs()): number {
  return Math.max(0, nowMs - startTime * TICK_MS)
}

// --- internal ---

/** The unit of start times, in milliseconds: of every 64-bit Linux. */
const TICK_MS = 10

type Answer = LivenessAnswer<{ readonly process: PidRef }>

/** A process that is ending has this long, in milliseconds, to have ended. */
const ENDING_MS = 200

/** In another namespace the pid or start time means another process: a VM that runs would be taken for dead. */
function namespaceAway({ pidNamespace, timeNamespace, pidfd: inode }: ProcessIdentity): Unknown | undefined {
  const pid = pidNamespace !== undefined && pidNamespace !== ownNamespace("pid")
  // Its pidfd's inode is the same everywhere.
  const time = inode === undefined && isTimeAway(timeNamespace)
  if (!pid && !time) return undefined
  const why = `it was started in another ${pid ? "PID" : "time"} namespace`
  return { is: "unknown", why, hint: ELSEWHERE }
}

function isTimeAway(timeNamespace: string | undefined): boolean {
  return timeNamespace !== undefined && timeNamespace !== ownNamespace("time")
}

function look(identity: ProcessIdentity): Answer {
  try {
    if (identity.bootId !== bootId()) return { is: "dead", why: "the host was rebooted since" }
    const elsewhere = namespaceAway(identity)
    if (elsewhere !== undefined) return elsewhere
    using process = openPid(identity.pid)
    return process === undefined ? { is: "dead", why: `no process ${identity.pid}` } : compare(identity, process)
  } catch (error) {
    return { is: "unknown", why: messageOf(error) }
  }
}

/** Moves the process into the answer when it is alive. */
function compare(identity: ProcessIdentity, process: PidRef): Answer {
  const { pid } = identity
  try {
    if (process.hasExited()) return { is: "dead", why: `process ${pid} has exited` }
    // Within one tick of 10 ms, the unit of start times, a pid can become another process's.
    const inode = identity.pidfd === undefined ? undefined : process.inode()
    if (inode !== undefined && inode !== identity.pidfd) return { is: "dead", why: `pid ${pid} is another process now` }
    const facts = readProcess(pid)
    if (process.hasExited()) return { is: "dead", why: `process ${pid} has exited` }
    if (facts.startTime === undefined) return { is: "unknown", why: `/proc/${pid}/stat cannot be read` }
    const sameClock = !isTimeAway(identity.timeNamespace)
    if (!sameClock && inode === undefined) return { is: "unknown", why: `process ${pid} has no inode here` }
    if (sameClock && facts.startTime !== identity.startTime)
      return { is: "dead", why: `pid ${pid} is another process now` }
    const { uid, root, runsAs } = identity
    if (facts.uid !== uid && facts.uid !== (runsAs?.uid ?? uid))
      return { is: "unknown", why: `process ${pid} has uid ${facts.uid}, not ${runsAs?.uid ?? uid}` }
    if (facts.root !== root && facts.root !== (runsAs?.root ?? root))
      return { is: "unknown", why: `process ${pid} has another root directory` }
    return { is: "alive", process: process.move() }
  } catch (error) {
    // A process that is ending has no root directory any more.
    if (process.hasExited(ENDING_MS)) return { is: "dead", why: `process ${pid} has exited` }
    // Under hidepid a process that runs looks absent in /proc: ENOENT proves nothing.
    return { is: "unknown", why: messageOf(error) }
  }
}
