import { O } from "./constants.ts"
import { forgetEnvironment } from "./environment.ts"
import { keepOnExec } from "./exec.ts"
import { close, openAt, replaceDescriptor } from "./files.ts"
import { AT_FDCWD } from "./guards.ts"
import { libc, outcome, rawSyscall } from "./libc.ts"
import { setLimit, UNLIMITED } from "./limits.ts"
import { syscallNumber } from "./numbers.ts"

/** Who has asked root for this process, by sudo's own words; it is not known whether there is such a user. */
export interface SudoUser {
  readonly uid: string | undefined
}

/**
 * Makes this process one that a user of less rights may talk to, before it has read a byte of theirs: nothing of their environment
 * is left but who they are, their limits (prlimit(2)), umask and working directory do not hold, what they have open no child gets
 * (close_range(2)), no child gains rights by running a program (PR_SET_NO_NEW_PRIVS), nobody reads its memory (PR_SET_DUMPABLE),
 * nothing is written to what they have opened for reading, no key of their terminal stops it (signal(7), setsid(2)), and it has its
 * share of the processors (sched(7)): it will hold locks that others wait for.
 * Call it before anything acts on the environment. Returns why it must not go on, if so.
 */
export function hardenProcess(): string | undefined {
  const found = Object.keys(process.env).filter((name) => /^(?:BUN_|NODE_|LD_)/.test(name))
  user = { uid: process.env.SUDO_UID }
  for (const name of Object.keys(process.env)) delete process.env[name]
  process.env.PATH = SAFE_PATH
  forgetEnvironment()
  process.chdir("/")
  process.umask(0o077)
  keepOnExec([])
  for (const [fd, without] of STANDARD) if (accessOf(fd) === without) replaceByNull(fd)
  for (const [resource, soft, hard] of LIMITS) ownLimit(resource, soft, hard)
  for (const signal of STOPPING) libc.signal(signal, SIG_IGN)
  for (const [call, args] of OWN_TERMS) ownTerm(call, args)
  prctl(PR_SET_DUMPABLE, 0)
  prctl(PR_SET_NO_NEW_PRIVS, 1)
  const [first] = found
  // Too late to matter, but not to be said: whoever can set one could have run anything as root.
  if (first !== undefined) return `${first} is set in its environment: sudo must not keep BUN_*, NODE_* or LD_*`
  return process.geteuid?.() === 0 ? undefined : "it is not root"
}

/** Who asked, once this process is hardened; undefined before. */
export function sudoUser(): SudoUser | undefined {
  return user
}

// --- internal ---

let user: SudoUser | undefined

const SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const PR_SET_DUMPABLE = 4
const PR_SET_NO_NEW_PRIVS = 38

/** Resources of asm-generic/resource.h: CPU, FSIZE, DATA, CORE, NOFILE, AS; what each may be at most, softly and hardly. */
const LIMITS = [
  [0, UNLIMITED, UNLIMITED],
  [1, UNLIMITED, UNLIMITED],
  [2, UNLIMITED, UNLIMITED],
  [4, 0n, 0n],
  [7, 1024n, 524_288n],
  [9, UNLIMITED, UNLIMITED],
] as const

function ownLimit(resource: number, soft: bigint, hard: bigint): void {
  try {
    setLimit(resource, soft, hard)
  } catch (error) {
    // A container may forbid to raise one; none of them is a right.
    if (resource === CORE) throw error
  }
}

const CORE = 4

/** SIGTSTP, SIGTTIN, SIGTTOU: who has the terminal sends them to all that began there, whoever's it is. */
const STOPPING = [20, 21, 22] as const
const SIG_IGN = 1n

/**
 * A session without a terminal; no nice value (PRIO_PROCESS 0), SCHED_OTHER with priority 0, all processors: of the main thread, and of
 * what it starts.
 */
const OWN_TERMS = [
  ["setsid", []],
  ["setpriority", [0, 0, 0]],
  ["sched_setscheduler", [0, 0, new Uint8Array(new ArrayBuffer(4))]],
  ["sched_setaffinity", [0, 128, new Uint8Array(new ArrayBuffer(128)).fill(0xff)]],
] as const

function ownTerm(call: (typeof OWN_TERMS)[number][0], args: readonly (number | Uint8Array)[]): void {
  try {
    rawSyscall(call, syscallNumber(call), args)
  } catch {
    // EPERM: the leader of a process group gets no session, and a container may forbid the rest. None of them is a right.
  }
}

/**
 * The standard descriptors, and what each is not to be opened for alone: who opens such a thing anew, as writers do that never wait, does
 * so with root's rights, and would write to what the user may only read.
 */
const STANDARD = [
  [0, O.WRONLY],
  [1, O.RDONLY],
  [2, O.RDONLY],
] as const

/** What a descriptor was opened for (fcntl(2), F_GETFL, O_ACCMODE); one that is closed, for reading. */
function accessOf(fd: number): number {
  const flags = outcome("fcntl(F_GETFL)", () => libc.fcntl(fd, F_GETFL, null))
  return flags < 0 ? O.RDONLY : flags & O_ACCMODE
}

function replaceByNull(fd: number): void {
  const opened = openAt(AT_FDCWD, "/dev/null", O.RDWR)
  if (opened === fd) return
  replaceDescriptor(opened, fd, true)
  close(opened)
}

const F_GETFL = 3
const O_ACCMODE = 3

function prctl(what: number, value: number): void {
  rawSyscall("prctl", syscallNumber("prctl"), [what, value, 0, 0, 0])
}
