import { dlopen, FFIType, ptr, read } from "bun:ffi"
import { existsSync, readFileSync } from "node:fs"
import { SyscallError } from "./errors.ts"
import { afterCall, beforeCall } from "./interpose.ts"

// The room linux: libc and system calls through bun:ffi, and what their structures hold. Nothing else imports bun:ffi.
// The rule: a wrapper mirrors its call, checks its arguments (guards), and throws a SyscallError that names call and subject.

const { i32, u32, i64, u64, i64_fast, ptr: pointer } = FFIType

/** Every libc function this program calls, with its C signature. `FILE`s and varargs beyond `...long` are not used. */
const SYMBOLS = {
  __errno_location: { args: [], returns: pointer },
  alarm: { args: [u32], returns: u32 },
  capget: { args: [pointer, pointer], returns: i32 },
  capset: { args: [pointer, pointer], returns: i32 },
  clock_gettime: { args: [i32, pointer], returns: i32 },
  close: { args: [i32], returns: i32 },
  dup3: { args: [i32, i32, i32], returns: i32 },
  fallocate: { args: [i32, i32, i64, i64], returns: i32 },
  fchmodat: { args: [i32, pointer, u32, i32], returns: i32 },
  fchownat: { args: [i32, pointer, u32, u32, i32], returns: i32 },
  connect: { args: [i32, pointer, u32], returns: i32 },
  fcntl: { args: [i32, i32, pointer], returns: i32 },
  flock: { args: [i32, i32], returns: i32 },
  fstatfs: { args: [i32, pointer], returns: i32 },
  fsync: { args: [i32], returns: i32 },
  ftruncate: { args: [i32, i64], returns: i32 },
  getpgrp: { args: [], returns: i32 },
  getsockopt: { args: [i32, i32, i32, pointer, pointer], returns: i32 },
  getgrouplist: { args: [pointer, u32, pointer, pointer], returns: i32 },
  getpwuid: { args: [u32], returns: pointer },
  getxattr: { args: [pointer, pointer, pointer, u64], returns: i64_fast },
  ioctl: { args: [i32, u64, u64], returns: i32 },
  linkat: { args: [i32, pointer, i32, pointer, i32], returns: i32 },
  lseek: { args: [i32, i64, i32], returns: i64_fast },
  mkdirat: { args: [i32, pointer, u32], returns: i32 },
  mknodat: { args: [i32, pointer, u32, u64], returns: i32 },
  openat: { args: [i32, pointer, i32, u32], returns: i32 },
  poll: { args: [pointer, u64, i32], returns: i32 },
  raise: { args: [i32], returns: i32 },
  read: { args: [i32, pointer, u64], returns: i64_fast },
  recv: { args: [i32, pointer, u64, i32], returns: i64_fast },
  strerror: { args: [i32], returns: FFIType.cstring },
  _exit: { args: [i32], returns: FFIType.void },
  bind: { args: [i32, pointer, u32], returns: i32 },
  listen: { args: [i32, i32], returns: i32 },
  send: { args: [i32, pointer, u64, i32], returns: i64_fast },
  setns: { args: [i32, i32], returns: i32 },
  setsockopt: { args: [i32, i32, i32, pointer, u32], returns: i32 },
  sendfile: { args: [i32, i32, pointer, u64], returns: i64_fast },
  setxattr: { args: [pointer, pointer, pointer, u64, i32], returns: i32 },
  setfsuid: { args: [u32], returns: i32 },
  sigaction: { args: [i32, pointer, pointer], returns: i32 },
  signal: { args: [i32, u64], returns: u64 },
  socket: { args: [i32, i32, i32], returns: i32 },
  symlinkat: { args: [pointer, i32, pointer], returns: i32 },
  syscall: { args: [i64, i64, i64, i64, i64, i64, i64], returns: i64_fast },
  tcgetattr: { args: [i32, pointer], returns: i32 },
  tcgetpgrp: { args: [i32], returns: i32 },
  tcsetattr: { args: [i32, i32, pointer], returns: i32 },
  umount2: { args: [pointer, i32], returns: i32 },
  unshare: { args: [i32], returns: i32 },
  unlinkat: { args: [i32, pointer, i32], returns: i32 },
  write: { args: [i32, pointer, u64], returns: i64_fast },
} as const

const library = dlopen(libraryPath(), SYMBOLS).symbols
const errnoAt = library.__errno_location()

function word(arg: number | Uint8Array): number {
  return typeof arg === "number" ? arg : ptr(arg)
}

/** What the latest successful call returned; read before the next one is made. */
let result = 0

/** libc's functions as they are. They check no argument; guards.ts does. */
export const libc = library

/**
 * Runs a libc call that reports failure by -1: its result, or a thrown `SyscallError` naming the call and its subject.
 * `run` must be the call and nothing else: any other call in between would overwrite errno.
 */
export function checked(call: string, run: () => number | bigint, subject?: string): number {
  const errno = attempt(call, run, subject)
  if (errno !== 0) throw new SyscallError(call, errno, String(library.strerror(errno)), subject)
  return result
}

/** As `checked`, and runs the call again while a signal interrupts it (EINTR). Never for close(2). */
export function retried(call: string, run: () => number | bigint, subject?: string): number {
  for (;;) {
    const errno = attempt(call, run, subject)
    if (errno === 0) return result
    if (errno !== EINTR) throw new SyscallError(call, errno, String(library.strerror(errno)), subject)
  }
}

/**
 * Runs a libc call whose failure is an answer. Returns the result, or the negative errno as the kernel does. Throws
 * nothing and makes no error object, so it is cheap enough for thousands of files. `run` as in `checked`.
 */
export function outcome(call: string, run: () => number | bigint, subject?: string): number {
  const errno = attempt(call, run, subject)
  return errno === 0 ? result : -errno
}

/** The error of a negative outcome. */
export function failureOf(call: string, negative: number, subject?: string): SyscallError {
  return new SyscallError(call, -negative, String(library.strerror(-negative)), subject)
}

/**
 * A system call libc may have no wrapper for. Views are passed by address and stay alive for the call;
 * addresses stored INSIDE them are the caller's to keep alive.
 */
export function rawSyscall(
  call: string,
  number: number,
  args: readonly (number | Uint8Array)[],
  subject?: string,
): number {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args
  const run = () => library.syscall(number, word(a), word(b), word(c), word(d), word(e), word(f))
  return retried(call, run, subject)
}

// --- internal ---

const EINTR = 4
const EIO = 5

/** Makes one call. Returns 0, with its result in `result`, or its errno. */
function attempt(call: string, run: () => number | bigint, subject: string | undefined): number {
  const injected = beforeCall(call, subject)
  if (injected !== 0) return injected
  result = Number(run())
  const errno = result !== -1 ? 0 : errnoAt === null ? EIO : read.i32(errnoAt, 0)
  afterCall(call, subject)
  return errno
}

/**
 * glibc is mapped already, so the loader finds its bare name without a search. It would look for an unknown bare name in
 * the working directory; so musl, whose loader is the C library, gets an absolute path.
 */
function libraryPath(): string {
  const musl = `/lib/ld-musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`
  if (!existsSync(musl)) return "libc.so.6"
  return readFileSync("/proc/self/maps", "latin1").includes("/ld-musl-") ? musl : "libc.so.6"
}
