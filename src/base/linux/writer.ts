import { MSG, O, S } from "./constants.ts"
import { errorCode } from "./errors.ts"
import { openAt, statDescriptor } from "./files.ts"
import { AT_FDCWD, descriptor } from "./guards.ts"
import { checked, libc, retried } from "./libc.ts"
import { awaitWritable, canWrite } from "./poll.ts"

/** Writes what the reader takes without waiting and returns how many bytes that was; 0 when it would have to wait. */
export type Writer = (bytes: Uint8Array) => number

/** Bytes that the kernel can move by itself from where they are. */
export interface Source {
  /** Moves to a descriptor what it takes without waiting, and returns how many bytes that was; undefined where this cannot be. */
  sendTo(fd: number): number | undefined
}

/**
 * A writer to an inherited descriptor that never waits for a reader. It opens the file anew on first use, because
 * O_NONBLOCK on the descriptor itself would reach others who share it, like the shell.
 */
export function writerTo(fd: number): Writer {
  let write: Writer | undefined
  return (bytes) => {
    write ??= suitable(fd)
    try {
      return write(bytes)
    } catch (error) {
      if (errorCode(error) === "EAGAIN") return 0
      throw error
    }
  }
}

/** How a reader is waited for. `write`: the writer of the descriptor, where one is kept. */
export interface WriteOptions {
  readonly write?: Writer
  readonly patienceMs: number
}

/** Writes as much as is taken without waiting; returns how many bytes that was. */
export function writeSome(write: Writer, bytes: Uint8Array): number {
  let at = 0
  for (let taken = -1; taken !== 0 && at < bytes.length; at += taken) taken = write(bytes.subarray(at))
  return at
}

/** Writes to `fd` by its writer, waiting up to `patienceMs` for its reader; returns how many bytes were taken. */
export function writeFor(fd: number, bytes: Uint8Array, { write = writerTo(fd), patienceMs }: WriteOptions): number {
  const end = performance.now() + patienceMs
  let at = writeSome(write, bytes)
  while (at < bytes.length) {
    const left = end - performance.now()
    if (left <= 0) return at
    awaitWritable(fd, Math.min(left, LONGEST_POLL_MS))
    const taken = writeSome(write, bytes.subarray(at))
    // poll(2) calls a terminal writable sometimes when it is not: do not spin.
    if (taken === 0) Bun.sleepSync(1)
    at += taken
  }
  return at
}

// --- internal ---

const LONGEST_POLL_MS = 60_000

/** At most this much goes into a pipe that poll(2) calls writable without waiting: PIPE_BUF of pipe(7). */
const PIPE_BUF = 4096

function suitable(fd: number): Writer {
  const type = statDescriptor(fd).mode & S.IFMT
  if (type === S.IFSOCK) return (bytes) => sent(fd, bytes)
  if (type !== S.IFIFO && type !== S.IFCHR) return (bytes) => written(fd, bytes)
  try {
    const own = openAt(AT_FDCWD, `/proc/self/fd/${descriptor(fd)}`, O.WRONLY | O.NONBLOCK | O.NOCTTY)
    return (bytes) => written(own, bytes)
  } catch {
    // A terminal of another user (su), or no /proc. After poll(2) a terminal is sure to take one byte only.
    const most = type === S.IFIFO ? PIPE_BUF : 1
    return (bytes) => (canWrite(fd) ? written(fd, bytes.subarray(0, most)) : 0)
  }
}

function written(fd: number, bytes: Uint8Array): number {
  return retried("write", () => libc.write(descriptor(fd), bytes, bytes.length))
}

function sent(fd: number, bytes: Uint8Array): number {
  return checked("send", () => libc.send(descriptor(fd), bytes, bytes.length, MSG.DONTWAIT | MSG.NOSIGNAL))
}
