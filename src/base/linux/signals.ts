import { readFileSync } from "node:fs"
import { O } from "./constants.ts"
import { descriptor, fixed, word } from "./guards.ts"
import { libc, rawSyscall, retried } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/** All signals that end a program unless it says otherwise, and that others send to have it end, by their numbers. */
export const ENDING_SIGNALS = {
  ...{ SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGUSR1: 10, SIGUSR2: 12, SIGALRM: 14, SIGTERM: 15 },
} as const

/** Which of these signals this process ignores, as its parent may have told it to (nohup(1)); see proc(5), SigIgn. */
export function ignoredOf(signals: readonly number[]): readonly number[] {
  const [, mask = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? []
  const bits = BigInt(`0x${mask}`)
  return signals.filter((signal) => ((bits >> BigInt(signal - 1)) & 1n) === 1n)
}

/** Gives a signal its default action (signal(2)). */
export function resetSignal(signal: number): void {
  libc.signal(word("signal", signal), SIG_DFL)
}

/**
 * Stops this process as SIGTSTP would that it did not listen to, and returns when it goes on (raise(3)). The kernel stops none that nobody
 * could let go on: an orphaned process group. The signal's action is the default afterwards.
 */
export function stopHere(): void {
  resetSignal(SIGTSTP)
  letSignals([SIGTSTP])
  // To this thread, so that it has been heeded when the call returns.
  libc.raise(SIGTSTP)
}

/** The signals of job control, by their numbers. */
export const SIGTSTP = 20

/**
 * Lets the kernel end this process by SIGALRM after so many seconds (alarm(2)). Another call replaces the alarm; 0 cancels
 * it. It ends even code that never yields, which a timer of the same thread could not.
 */
export function endIn(seconds: number): void {
  resetSignal(SIGALRM)
  libc.alarm(word("seconds", seconds))
}

/**
 * Holds these signals back from this thread (rt_sigprocmask(2), SIG_BLOCK): those that come wait, also across execve(2).
 * Threads and processes that this thread starts hold them back too.
 */
export function holdSignals(signals: readonly number[]): void {
  changeMask(SIG_BLOCK, signals)
}

/** Lets these signals through to this thread; those that waited come now (rt_sigprocmask(2), SIG_UNBLOCK). */
export function letSignals(signals: readonly number[]): void {
  changeMask(SIG_UNBLOCK, signals)
}

/**
 * Runs `work`, which must not wait for anything, with all signals held back from this thread (rt_sigprocmask(2), SIG_SETMASK), but the
 * one by which the engine stops its own threads (a profiler does): who stops one of them waits for it, and may have a lock that it needs.
 */
export function holdingAllSignals<T>(work: () => T): T {
  const [all, before] = [fixed(SET_BYTES).fill(0xff), fixed(SET_BYTES)]
  all.set([0xff & ~(1 << ((SIGPWR - 1) % 8))], Math.floor((SIGPWR - 1) / 8))
  const set = (mask: Uint8Array, old: Uint8Array | 0) =>
    rawSyscall("rt_sigprocmask", syscallNumber("rt_sigprocmask"), [SIG_SETMASK, mask, old, SET_BYTES])
  set(all, before)
  try {
    return work()
  } finally {
    set(before, 0)
  }
}

/** A descriptor that can be read once one of these signals waits (signalfd(2)). They must be held back. */
export function openSignalFd(signals: readonly number[]): number {
  const set = packSet(signals)
  return rawSyscall("signalfd4", syscallNumber("signalfd4"), [-1, set, set.length, O.CLOEXEC])
}

/** Takes the signals that wait at such a descriptor, by their numbers; only when it can be read, else this waits. */
export function takeSignals(fd: number): readonly number[] {
  const infos = fixed(SIGINFO_BYTES * Object.keys(ENDING_SIGNALS).length)
  const length = Number(retried("read", () => libc.read(descriptor(fd), infos, infos.length), "signalfd"))
  const view = new DataView(infos.buffer, infos.byteOffset)
  return Array.from({ length: length / SIGINFO_BYTES }, (_, index) => view.getUint32(index * SIGINFO_BYTES, true))
}

// --- internal ---

/** The size of the kernel's `signalfd_siginfo`. */
const SIGINFO_BYTES = 128

const SIG_BLOCK = 0
const SIG_UNBLOCK = 1
const SIG_SETMASK = 2

/** The size of the kernel's `sigset_t`. */
const SET_BYTES = 8

/** The kernel's `sigset_t`: a bit for each of 64 signals, from signal 1 on. */
function packSet(signals: readonly number[]): Uint8Array {
  const bits = signals.reduce((set, signal) => set | (1n << BigInt(word("signal", signal) - 1)), 0n)
  return new Uint8Array(new BigUint64Array([bits]).buffer)
}

function changeMask(how: number, signals: readonly number[]): void {
  const set = packSet(signals)
  rawSyscall("rt_sigprocmask", syscallNumber("rt_sigprocmask"), [how, set, 0, set.length])
}

const SIGALRM = 14

const SIGPWR = 30

const SIG_DFL = 0
