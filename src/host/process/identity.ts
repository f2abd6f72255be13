import { readFileSync } from "node:fs"
import { inodeOf, statPath } from "../../base/linux/files.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { bootId } from "../../store/state/bootId.ts"
import type { ProcessIdentity } from "../../store/state/handles.ts"
import { closing, openPid, type PidRef } from "./pidRef.ts"
import { ownNamespace, parseStartTime, readProcess } from "./procfs.ts"

/** What to do about a VM of another namespace. */
export const ELSEWHERE = "do this in the container that the VM was started in"

/** What is known of a process: proven alive (the caller closes it), proven dead, or neither. */
export type ProcessLiveness = Disposable &
  ({ is: "alive"; process: PidRef } | { is: "dead"; why: string } | { is: "unknown"; why: string; hint?: string })

/**
 * The identity of a child of ours that was not waited for yet, so that its pid is surely its own. It has our uid and
 * our root directory, those are not read from /proc, which no longer tells them of a child that died at once; a
 * jailed one goes over to those of its jail (`becomes`) while it starts.
 */
export function identifyChild(child: PidRef, becomes?: { uid: number; root: string }): ProcessIdentity {
  const { pid } = child
  const startTime = parseStartTime(readFileSync(`/proc/${pid}/stat`, "latin1"))
  if (startTime === undefined) throw new Error(`/proc/${pid}/stat has no start time`)
  const identity = identityOf(child, { startTime, ...ownPlace() })
  return becomes === undefined ? identity : { ...identity, becomes }
}

/** The identity of a process, from what was read of it while it was held. */
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

/** Our own uid and root directory, which a VMM has at its start, and without a jail to its end. */
export function ownPlace(): { readonly uid: number; readonly root: string } {
  return { uid: process.geteuid?.() ?? 0, root: inodeOf(statPath("/")) }
}

/** The identity of this process. */
export function identifySelf(): ProcessIdentity {
  using self = openPid(process.pid)
  if (self === undefined) throw new Error("this process has no pid of its own: /proc and it are of two namespaces")
  return identifyChild(self)
}

/**
 * Whether the very process of an identity still runs. The facts are read while it is held, and it is looked at again
 * afterwards, so they cannot be another process's. An answer that /proc refuses is "unknown".
 */
export function processLiveness(identity: ProcessIdentity): ProcessLiveness {
  return closing(look(identity))
}

/**
 * Whether the very process of an identity surely runs, by its pidfd's inode alone, which no other process of this boot
 * has: for a look at many. False when that cannot be said so; `processLiveness` can say more.
 */
export function surelyRuns({ bootId: boot, pid, pidfd: inode }: ProcessIdentity): boolean {
  if (inode === undefined || boot !== bootId()) return false
  try {
    using process = openPid(pid)
    return process !== undefined && process.inode() === inode && !process.hasExited()
  } catch {
    // Whatever it is, it is for processLiveness to find out.
    return false
  }
}

// --- internal ---

type Answer =
  | { is: "alive"; process: PidRef }
  | { is: "dead"; why: string; process?: never }
  | { is: "unknown"; why: string; hint?: string; process?: never }

/** A process on its way out is given this long, in milliseconds. */
const ENDING_MS = 200

/** A pid, and a start time, mean something else in another namespace: a live VM would be taken for dead. */
function namespaceAway({ pidNamespace, timeNamespace }: ProcessIdentity): Answer | undefined {
  const pid = pidNamespace !== undefined && pidNamespace !== ownNamespace("pid")
  const time = timeNamespace !== undefined && timeNamespace !== ownNamespace("time")
  if (!pid && !time) return undefined
  const why = `it was started in another ${pid ? "PID" : "time"} namespace`
  return { is: "unknown", why, hint: ELSEWHERE }
}

function look(identity: ProcessIdentity): Answer {
  if (identity.bootId !== bootId()) return { is: "dead", why: "the host was rebooted since" }
  const elsewhere = namespaceAway(identity)
  if (elsewhere !== undefined) return elsewhere
  try {
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
    // Start times have ticks of 10 ms, in which a pid can be given away and taken again.
    const inode = identity.pidfd === undefined ? undefined : process.inode()
    if (inode !== undefined && inode !== identity.pidfd) return { is: "dead", why: `pid ${pid} is another process now` }
    const facts = readProcess(pid)
    if (process.hasExited()) return { is: "dead", why: `process ${pid} has exited` }
    if (facts.startTime === undefined) return { is: "unknown", why: `/proc/${pid}/stat cannot be read` }
    if (facts.startTime !== identity.startTime) return { is: "dead", why: `pid ${pid} is another process now` }
    const { uid, root, becomes } = identity
    if (facts.uid !== uid && facts.uid !== (becomes?.uid ?? uid))
      return { is: "unknown", why: `process ${pid} has uid ${facts.uid}, not ${becomes?.uid ?? uid}` }
    if (facts.root !== root && facts.root !== (becomes?.root ?? root))
      return { is: "unknown", why: `process ${pid} has another root directory` }
    return { is: "alive", process: process.move() }
  } catch (error) {
    // One that is just ending has no root directory any more, and has ended in a moment.
    if (process.hasExited(ENDING_MS)) return { is: "dead", why: `process ${pid} has exited` }
    // Under hidepid a live process looks absent here, so ENOENT proves nothing while it has not exited.
    return { is: "unknown", why: messageOf(error) }
  }
}
