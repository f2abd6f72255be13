import { readdirSync, readFileSync } from "node:fs"
import { errorCode } from "../../base/linux/errors.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { closingAll, notDead, openPid, type PidRef, SIGKILL } from "./pidRef.ts"
import { parseSingleUid, readProcess } from "./procfs.ts"

/**
 * Every process of a jail's uid whose root directory is the jail's (`device:inode`): what a VMM left there, whatever its
 * name is. The caller closes them. Throws LIVENESS_UNKNOWN when a process of that uid does not let its root be seen.
 */
export function membersOf(root: string, uid: number): readonly PidRef[] {
  const pids = readdirSync("/proc").filter((name) => /^[1-9]\d*$/.test(name))
  using unlessWhole = new DisposableStack()
  const members = pids.flatMap((pid) => unlessWhole.use(memberOf(Number(pid), root, uid)) ?? [])
  unlessWhole.move()
  return members
}

/** Kills the processes in a jail, and those that they start meanwhile, until none is left. Throws TIMED_OUT. */
export function endMembers(root: string, uid: number, timeoutMs: number): void {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const members = membersOf(root, uid)
    if (members.length === 0) return
    using _ = closingAll(members)
    for (const member of members) member.signal(SIGKILL)
    for (const member of members) {
      const left = Math.max(0, deadline - performance.now())
      if (!member.hasExited(left)) throw notDead(member.pid, timeoutMs)
    }
  }
}

// --- internal ---

/** Undefined when it is no member, or has ended. */
function memberOf(pid: number, root: string, uid: number): PidRef | undefined {
  if (uidOf(pid) !== uid) return undefined
  using process = openPid(pid)
  if (process === undefined) return undefined
  try {
    const facts = readProcess(pid)
    return !process.hasExited() && facts.root === root && facts.uid === uid ? process.move() : undefined
  } catch (error) {
    if (process.hasExited()) return undefined
    throw new Failure("LIVENESS_UNKNOWN", `cannot tell whether process ${pid} is in the jail: ${messageOf(error)}`, {
      subject: `${pid}`,
      cause: error,
    })
  }
}

function uidOf(pid: number): number | undefined {
  try {
    return parseSingleUid(readFileSync(`/proc/${pid}/status`, "latin1"))
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ESRCH") return undefined
    throw new Failure("LIVENESS_UNKNOWN", `cannot tell whose process ${pid} is: ${messageOf(error)}`, {
      subject: `${pid}`,
      cause: error,
    })
  }
}
