import { ptr } from "bun:ffi"
import { type Call, failedCall, packCalls } from "./childCalls.ts"
import { runInChild } from "./childCode.ts"
import type { Program } from "./exec.ts"
import { close } from "./files.ts"
import { descriptor, fixed, word } from "./guards.ts"
import { afterCall, beforeCall } from "./interpose.ts"
import { checked, failureOf, libc } from "./libc.ts"
import { pidfdExited, reapChild } from "./pidfd.ts"
import { holdingAllSignals } from "./signals.ts"

/** A program to start as a child of this process. */
export interface NewProgram extends Program {
  /** Its descriptors 0, 1, 2, …: copies of these. It has no others. */
  readonly fds: readonly number[]
  readonly umask: number
  /** A descriptor of the directory of the cgroup (v2) that it is to be born in. */
  readonly cgroup?: number | undefined
}

/** A child of this process, which waits for it. */
export interface NewProcess {
  readonly pid: number
  /** Close it when the child was waited for. */
  readonly pidfd: number
  /** Whether it was born in its cgroup. */
  readonly inCgroup: boolean
}

/**
 * Starts a program as a child of this process: in a session of its own, `/` its working directory, all signals at their default and
 * none held back. It is born in its cgroup (clone3(2), CLONE_INTO_CGROUP, Linux 5.7), which costs nothing: a move into a cgroup waits
 * until all processors of the host have passed a quiet state, 5 to 15 ms. Where clone3(2) is refused altogether, as
 * containers do it, clone(2) is taken, and the child is in its parent's cgroup. Throws a system error that names the call when it
 * cannot be started; then there is no child.
 */
export function startProgram(program: NewProgram): NewProcess {
  const fds = program.fds.map(descriptor)
  const high = new Map<number, number>()
  try {
    // Such a descriptor would be overwritten before it is copied.
    for (const fd of fds) if (fd < fds.length && !high.has(fd)) high.set(fd, copyAbove(fd, fds.length))
    return begin(
      program,
      fds.map((fd) => high.get(fd) ?? fd),
    )
  } finally {
    for (const fd of high.values()) close(fd)
  }
}

// --- internal ---

/** The child shares this process's memory, and this thread waits until it has run its program; it is held by a pidfd. */
const CLONE_FLAGS = 0x100 | 0x4000 | 0x1000
const CLONE_INTO_CGROUP = 0x2_0000_0000

/** The words of 8 bytes of `struct clone_args`. */
const CLONE_ARGS = { words: 11, flags: 0, pidfd: 1, exitSignal: 4, cgroup: 10 } as const

/** EPERM, ENOSYS: so seccomp(2) filters refuse what they do not know. */
const REFUSALS = [-1, -38]
const SIGCHLD = 17
const F_DUPFD_CLOEXEC = 1030
const LAST_FD = 0xffff_ffff
const SIG_SETMASK = 2

/** The kernel's `sigset_t`, and its `struct sigaction`: all zero is the default action. */
const SET_BYTES = 8
const ACTION_BYTES = 32

/** All signals but SIGKILL and SIGSTOP, from each of these on so many. */
const CHANGEABLE = [
  [1, 8],
  [10, 9],
  [20, 45],
] as const

/** A child that could not run its program ends within this many milliseconds. */
const END_WAIT_MS = 5000

function copyAbove(fd: number, least: number): number {
  return checked("fcntl(F_DUPFD_CLOEXEC)", () => libc.fcntl(fd, F_DUPFD_CLOEXEC, least as never), `fd ${fd}`)
}

function begin(program: NewProgram, sources: readonly number[]): NewProcess {
  const { path, cgroup } = program
  const pidfd = new Int32Array(fixed(4).buffer)
  const steps = stepsOf(program, sources)
  const args = packCloneArgs(ptr(pidfd), cgroup)
  let inCgroup = cgroup !== undefined
  let started = run(path, { name: "clone3", args: [args, args.length] }, steps)
  if (REFUSALS.includes(started.pid)) {
    inCgroup = false
    started = run(path, { name: "clone", args: [CLONE_FLAGS | SIGCHLD, 0, ptr(pidfd)] }, steps)
  }
  const { pid, failed } = started
  if (pid < 0) throw failureOf("clone3", pid, path)
  const [held = -1] = pidfd
  if (failed === undefined) return { pid, pidfd: held, inCgroup }
  if (pidfdExited(held, END_WAIT_MS)) reapChild(held)
  close(held)
  throw failureOf(failed.name, failed.negative, path)
}

/** What the child does. */
function stepsOf({ path, argv, env, umask }: NewProgram, sources: readonly number[]): readonly Call[] {
  const pairs = Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
  const zeroes = new Uint8Array(ACTION_BYTES)
  return [
    ...CHANGEABLE.map(([first, times]): Call => ({ name: "rt_sigaction", args: [first, zeroes, 0, SET_BYTES], times })),
    { name: "setsid", args: [] },
    { name: "umask", args: [word("umask", umask)] },
    { name: "chdir", args: ["/"] },
    ...sources.map((fd, index): Call => ({ name: "dup3", args: [fd, index, 0] })),
    { name: "close_range", args: [sources.length, LAST_FD, 0] },
    { name: "rt_sigprocmask", args: [SIG_SETMASK, zeroes, 0, SET_BYTES] },
    { name: "execve", args: [path, argv, pairs] },
  ]
}

/** The child's pid or a negative errno, and which step has failed in the child. */
function run(path: string, start: Call, steps: readonly Call[]) {
  const injected = beforeCall(start.name, path)
  if (injected !== 0) return { pid: -injected, failed: undefined }
  const calls = [start, ...steps]
  const table = packCalls(calls)
  const pid = holdingAllSignals(() => runInChild(table))
  afterCall(start.name, path)
  return { pid, failed: pid < 0 ? undefined : failedCall(table, calls) }
}

/** `struct clone_args` of linux/sched.h, to its end in Linux 5.7. */
function packCloneArgs(pidfd: number, cgroup: number | undefined): Uint8Array {
  const args = new BigUint64Array(CLONE_ARGS.words)
  args[CLONE_ARGS.flags] = BigInt(CLONE_FLAGS + (cgroup === undefined ? 0 : CLONE_INTO_CGROUP))
  args[CLONE_ARGS.pidfd] = BigInt(pidfd)
  args[CLONE_ARGS.exitSignal] = BigInt(SIGCHLD)
  args[CLONE_ARGS.cgroup] = BigInt(cgroup ?? 0)
  return new Uint8Array(args.buffer)
}
