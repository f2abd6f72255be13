import { readdirSync, readFileSync } from "node:fs"
import { procPath } from "../../base/linux/access.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { isType, openAt, openBeneath, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { holdListener } from "../../base/linux/sockets.ts"
import { Failure } from "../../base/terms/failure.ts"
import { ELSEWHERE } from "../process/identity.ts"
import { membersOf } from "../process/members.ts"
import { closingAll, type PidRef, pidRefOf } from "../process/pidRef.ts"
import { parsePermitted } from "../process/procfs.ts"
import { holdersOf } from "./holders.ts"
import { isCalled, type Marks } from "./proof.ts"

/** A process that may be the VMM. Where `process` is given it was held from the start, and the caller closes it. */
export interface Candidate {
  readonly pid: number
  readonly process?: PidRef | undefined
  /** Named by what only this user can have arranged: it belongs to the VM, whatever it looks like. */
  readonly ours?: boolean
}

/** The processes in a cgroup (cgroup.procs); none when it is not there. */
export function inCgroup(path: string): readonly Candidate[] {
  const text = unlessGone(() => readFileSync(`${path}/cgroup.procs`, "latin1")) ?? ""
  const pids = text.split("\n").filter(Boolean).map(Number)
  if (pids.includes(0)) throw elsewhere(`${path} has processes of another PID namespace`)
  return pids.map((pid) => ({ pid, ours: true }))
}

/** The process that listens on a socket in a directory, if any. Throws when the name is not a socket. */
export function listenerIn(dir: number, name: string): readonly Candidate[] {
  const found = unlessGone(() => openBeneath(dir, name, O.PATH | O_NOFOLLOW))
  if (found === undefined) return []
  return withDescriptor(found, (fd) => {
    if (!isType(statDescriptor(fd), S.IFSOCK))
      throw new Failure("CHANGED", `${name} is not a socket`, { subject: name })
    try {
      const { pid, pidfd } = holdListener(`/proc/self/fd/${fd}`)
      using listener = pidfd === undefined ? undefined : pidRefOf(pid, pidfd)
      if (pid > 0) return [{ pid, process: listener?.move() }]
    } catch (error) {
      // Nobody listens any more, or the listener has ended.
      if (errorCode(error) === "ECONNREFUSED" || errorCode(error) === "ESRCH") return []
      throw error
    }
    throw elsewhere(`a process of another PID namespace listens on ${name}`)
  })
}

/**
 * The process that a pidfile in a directory names, if any. Throws when the file is no pidfile. It is opened for reading
 * only once it is known to be a regular file: the owner of the directory could have put a device there.
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
  if (pid === undefined) throw new Failure("CHANGED", `${name} holds no pid`, { subject: name })
  return [{ pid }]
}

/** The pid that a text is, with a newline or without; undefined for what is no pid of Linux. Pure. */
export function parsePid(text: string): number | undefined {
  const pid = /^[1-9]\d{0,6}\n?$/.test(text) ? Number(text) : undefined
  return pid !== undefined && pid > 1 && pid <= PID_MAX ? pid : undefined
}

/**
 * Every process that writes a VM's console, is in its jail, or without a jail has its command line. Throws a failure when
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

/** Throws NEEDS_ROOT when /proc hides the processes of this uid from us (its mount option hidepid; proc(5)). */
export function requireSight(uid: number | undefined): void {
  if (uid === undefined || uid === process.geteuid?.()) return
  const mount = readFileSync("/proc/self/mountinfo", "latin1").split("\n")
  const hides = mount.some((line) => / \/proc \S+ .*- proc .*\bhidepid=(?!0\b|off\b)/.test(line))
  if (!hides) return
  const own = parsePermitted(readFileSync("/proc/self/status", "latin1")) ?? 0n
  if ((own & CAP_SYS_PTRACE) !== 0n) return
  const hint = "do this with CAP_SYS_PTRACE, or where /proc is mounted without hidepid"
  throw new Failure("NEEDS_ROOT", "/proc hides the processes of others here (hidepid)", { subject: "/proc", hint })
}

// --- internal ---

/** A pid and a newline are fewer. */
const PIDFILE_MAX_BYTES = 32

/** linux/threads.h: PID_MAX_LIMIT. Linux gives away no higher pid. */
const PID_MAX = 1 << 22

/** linux/capability.h. */
const CAP_SYS_PTRACE = 1n << 19n

function elsewhere(message: string): Failure {
  return new Failure("LIVENESS_UNKNOWN", message, { hint: ELSEWHERE })
}

function calledSo(commandLines: Marks["commandLines"]): readonly Candidate[] {
  if (commandLines.length === 0) return []
  const pids = readdirSync("/proc").filter((name) => /^[1-9]\d*$/.test(name))
  const others = pids.map(Number).filter((pid) => pid !== process.pid)
  return others.filter((pid) => unlessGone(() => isCalled(pid, commandLines)) ?? false).map((pid) => ({ pid }))
}

/** Undefined when a file, or a process's in /proc, is gone. ENODEV: a cgroup was removed after it was opened. */
function unlessGone<T>(work: () => T): T | undefined {
  return unlessAbsent(work, ["ENOENT", "ESRCH", "ENODEV"])
}
