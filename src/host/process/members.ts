import { readdirSync, readFileSync } from "node:fs"
import { errorCode } from "../../base/linux/errors.ts"
import { close } from "../../base/linux/files.ts"
import { pidfdExited, pidfdOpen, pidfdSignal } from "../../base/linux/pidfd.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { parseSingleUid, readProcess } from "./procfs.ts"

/** A process whose root directory is a jail's, held by its pidfd (the caller's to close). */
export interface Member {
  readonly pid: number
  readonly pidfd: number
}

/**
 * Every process of a jail's uid whose root directory is the jail's (`device:inode`): what a VMM left there, whatever it
 * calls itself. Read while its pidfd is held, which is looked at again afterwards. Throws a failure when a process of
 * that uid does not let its root be seen: then it cannot be told.
 */
export function membersOf(root: string, uid: number): readonly Member[] {
  const pids = readdirSync("/proc").filter((name) => /^[1-9]\d*$/.test(name))
  const members: Member[] = []
  try {
    for (const pid of pids.map(Number)) {
      const member = memberOf(pid, root, uid)
      if (member !== undefined) members.push(member)
    }
    return members
  } catch (error) {
    for (const { pidfd } of members) close(pidfd)
    throw error
  }
}

/** Kills every process in a jail, and those they fork meanwhile, until there is none. Throws when they do not die. */
export function endMembers(root: string, uid: number, timeoutMs: number): void {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const members = membersOf(root, uid)
    if (members.length === 0) return
    try {
      for (const { pidfd } of members) pidfdSignal(pidfd, SIGKILL)
      for (const { pid, pidfd } of members) {
        const left = Math.max(0, deadline - performance.now())
        if (!pidfdExited(pidfd, left)) throw new Failure("FAILED", `process ${pid} in the jail does not die`)
      }
    } finally {
      for (const { pidfd } of members) close(pidfd)
    }
  }
}

// --- internal ---

const SIGKILL = 9

/** Gone meanwhile is no member. */
function memberOf(pid: number, root: string, uid: number): Member | undefined {
  if (uidOf(pid) !== uid) return undefined
  let pidfd: number
  try {
    pidfd = pidfdOpen(pid)
  } catch (error) {
    if (errorCode(error) === "ESRCH") return undefined
    throw error
  }
  try {
    const facts = readProcess(pid)
    if (!pidfdExited(pidfd) && facts.root === root && facts.uid === uid) return { pid, pidfd }
  } catch (error) {
    if (!pidfdExited(pidfd)) {
      close(pidfd)
      throw new Failure("FAILED", `cannot tell whether process ${pid} is in the jail: ${messageOf(error)}`, {
        cause: error,
      })
    }
  }
  close(pidfd)
  return undefined
}

function uidOf(pid: number): number | undefined {
  try {
    return parseSingleUid(readFileSync(`/proc/${pid}/status`, "latin1"))
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ESRCH") return undefined
    throw new Failure("FAILED", `cannot tell whose process ${pid} is: ${messageOf(error)}`, { cause: error })
  }
}
