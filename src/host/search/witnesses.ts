import { readdirSync, readFileSync } from "node:fs"
import { procPath } from "../../base/linux/access.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { isType, openAt, openBeneath, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { holdListener } from "../../base/linux/sockets.ts"
import { Failure } from "../../base/terms/failure.ts"
import { membersOf } from "../process/members.ts"
import { closingAll, type PidRef, pidRefOf } from "../process/pidRef.ts"
import { parsePermitted } from "../process/procfs.ts"
import { holdersOf } from "./holders.ts"
import { isCalled, type Marks } from "./proof.ts"

/** A process that may be the VMM: by its pid, and itself where it was held from the start (the caller closes it). */
export interface Candidate {
  readonly pid: number
  readonly process?: PidRef | undefined
  /** Known by what only this user can have arranged: it is of the VM, whatever it looks like. */
  readonly ours?: boolean
}

/** The processes in a cgroup (cgroup.procs); none when it is not there. */
export function inCgroup(path: string): readonly Candidate[] {
  const text = unlessGone(() => readFileSync(`${path}/cgroup.procs`, "latin1")) ?? ""
  const pids = text.split("\n").filter(Boolean).map(Number)
  if (pids.includes(0)) throw new Failure("FAILED", `${path} has processes of another PID namespace`)
  return pids.map((pid) => ({ pid, ours: true }))
}

/** Who listens on a socket in a directory; nobody when it is not there, or nobody listens. */
export function listenerIn(dir: number, name: string): readonly Candidate[] {
  const found = unlessGone(() => openBeneath(dir, name, O.PATH | O_NOFOLLOW))
  if (found === undefined) return []
  return withDescriptor(found, (fd) => {
    if (!isType(statDescriptor(fd), S.IFSOCK)) throw new Failure("FAILED", `${name} is not a socket`)
    try {
      const { pid, pidfd } = holdListener(`/proc/self/fd/${fd}`)
      using listener = pidfd === undefined ? undefined : pidRefOf(pid, pidfd)
      if (pid > 0) return [{ pid, process: listener?.move() }]
    } catch (error) {
      // Nobody listens any more, or who did is gone.
      if (errorCode(error) === "ECONNREFUSED" || errorCode(error) === "ESRCH") return []
      throw error
    }
    throw new Failure("FAILED", `a process of another PID namespace listens on ${name}`)
  })
}

/**
 * The process that a pidfile in a directory names; nobody when it is not there. Throws when it is no pidfile. It is opened
 * only once it is known to be a regular file: whose directory it is could have put a device's node there.
 */
export function namedIn(dir: number, name: string): readonly Candidate[] {
  const found = unlessGone(() => openBeneath(dir, name, O.PATH | O_NOFOLLOW))
  if (found === undefined) return []
  const text = withDescriptor(found, (fd) => {
    const stat = statDescriptor(fd)
    if (!isType(stat, S.IFREG) || stat.size > PIDFILE_MAX_BYTES) return undefined
    const read = (file: number) => new TextDecoder("latin1").decode(readAll(file, PIDFILE_MAX_BYTES))
    return withDescriptor(openAt(AT_FDCWD, procPath(fd), O.RDONLY), read)
  })
  const pid = text === undefined ? undefined : parsePid(text)
  if (pid === undefined) throw new Failure("FAILED", `${name} holds no pid`)
  return [{ pid }]
}

/** The pid that a pidfile's text is, and nothing else: what Linux may give away (proc(5): pid_max is at most 2^22). */
export function parsePid(text: string): number | undefined {
  const pid = /^[1-9]\d{0,6}\n?$/.test(text) ? Number(text) : undefined
  return pid !== undefined && pid > 1 && pid <= PID_MAX ? pid : undefined
}

/**
 * Every process that has a VM's marks: writes its console, is in its jail, or has its command line. Throws a failure when
 * processes are hidden from us.
 */
export function scanned({ console, jail, commandLines }: Marks, consolePath: string): readonly Candidate[] {
  requireSight(jail?.uid)
  const writers = console === undefined ? [] : holdersOf(consolePath)
  using unlessWhole = closingAll(writers)
  const ours = writers.map((process) => ({ pid: process.pid, process, ours: true }))
  const others =
    jail === undefined
      ? calledSo(commandLines)
      : membersOf(jail.root, jail.uid).map((process) => ({ pid: process.pid, process }))
  unlessWhole.move()
  return [...ours, ...others]
}

/** Mounted with hidepid, /proc does not list the processes of other uids to who may not trace them (proc(5)): throws a failure then. */
export function requireSight(uid: number | undefined): void {
  if (uid === undefined || uid === process.geteuid?.()) return
  const mount = readFileSync("/proc/self/mountinfo", "latin1").split("\n")
  const hides = mount.some((line) => / \/proc \S+ .*- proc .*\bhidepid=(?!0\b|off\b)/.test(line))
  if (!hides) return
  const own = parsePermitted(readFileSync("/proc/self/status", "latin1")) ?? 0n
  if ((own & CAP_SYS_PTRACE) === 0n) throw new Failure("FAILED", "/proc hides the processes of others here (hidepid)")
}

// --- internal ---

/** A pid with a newline takes fewer. */
const PIDFILE_MAX_BYTES = 32

/** linux/threads.h: PID_MAX_LIMIT. */
const PID_MAX = 1 << 22

/** linux/capability.h. */
const CAP_SYS_PTRACE = 1n << 19n

function calledSo(commandLines: Marks["commandLines"]): readonly Candidate[] {
  if (commandLines.length === 0) return []
  const pids = readdirSync("/proc").filter((name) => /^[1-9]\d*$/.test(name))
  const others = pids.map(Number).filter((pid) => pid !== process.pid)
  return others.filter((pid) => unlessGone(() => isCalled(pid, commandLines)) ?? false).map((pid) => ({ pid }))
}

/** Of a file, or of a process's in /proc, that may be gone. ENODEV: of a cgroup that was removed after it was opened. */
function unlessGone<T>(work: () => T): T | undefined {
  return unlessAbsent(work, ["ENOENT", "ESRCH", "ENODEV"])
}
