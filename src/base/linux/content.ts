import { FICLONE, S } from "./constants.ts"
import { statDescriptor } from "./files.ts"
import { descriptor } from "./guards.ts"
import { checked, failureOf, libc, outcome, rawSyscall, retried } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"
import { canWrite } from "./poll.ts"

/** Writes all of `bytes`, however many write(2) calls that takes. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  let rest = bytes
  while (rest.length > 0) {
    const chunk = rest
    rest = rest.subarray(retried("write", () => libc.write(descriptor(fd), chunk, chunk.length)))
  }
}

/** The first bytes that a descriptor has from where it stands: up to `length`, in one read(2). */
export function readStart(fd: number, length: number): Uint8Array<ArrayBuffer> {
  const buffer = new Uint8Array(length)
  return buffer.slice(
    0,
    retried("read", () => libc.read(descriptor(fd), buffer, length)),
  )
}

/** read(2) into a buffer from where a descriptor stands; returns how many bytes it gave, 0 at the end. */
export function readInto(fd: number, buffer: Uint8Array): number {
  return buffer.length === 0 ? 0 : retried("read", () => libc.read(descriptor(fd), buffer, buffer.length))
}

const FIRST_READ_BYTES = 16 * 1024

/** Reads a descriptor from where it stands to its end; throws when there are more than `limit` bytes. */
export function readAll(fd: number, limit: number): Uint8Array<ArrayBuffer> {
  // Most are small, and the limits large: memory costs time when it is first touched.
  let buffer = new Uint8Array(Math.min(limit + 1, FIRST_READ_BYTES))
  let length = 0
  for (;;) {
    if (length === buffer.length && length <= limit) {
      const larger = new Uint8Array(Math.min(limit + 1, 4 * length))
      larger.set(buffer)
      buffer = larger
    }
    const rest = buffer.subarray(length)
    const count = rest.length === 0 ? 0 : retried("read", () => libc.read(descriptor(fd), rest, rest.length))
    if (length + count > limit) throw new RangeError(`larger than ${limit} bytes`)
    if (count === 0) return buffer.slice(0, length)
    length += count
  }
}

/** Shares all of one file's blocks with another (ioctl_ficlone(2)). EOPNOTSUPP, EXDEV or EINVAL where it cannot. */
export function cloneInto(source: number, target: number): void {
  checked("ioctl(FICLONE)", () => libc.ioctl(descriptor(target), FICLONE, descriptor(source)))
}

/** copy_file_range(2) from the two files' positions; returns the bytes copied, 0 at the end. */
export function copyRange(source: number, target: number, length: number): number {
  const number = syscallNumber("copy_file_range")
  return rawSyscall("copy_file_range", number, [descriptor(source), 0, descriptor(target), 0, length, 0])
}

/** sendfile(2) between the two files' positions, also across file systems; returns the bytes copied, 0 at the end. */
export function sendRange(source: number, target: number, length: number): number {
  return retried("sendfile", () => libc.sendfile(descriptor(target), descriptor(source), null, length))
}

/**
 * Moves bytes from a file to a socket without waiting for its reader, from the offset that memory holds (i64), and has the kernel
 * write the new one there before anything can end this process (sendfile(2)). Returns how many that was; undefined where the target
 * is no socket, or takes none so.
 */
export function sendFrom(
  source: number,
  target: number,
  { offset, count }: { readonly offset: Uint8Array; readonly count: number },
): number | undefined {
  if ((statDescriptor(target).mode & S.IFMT) !== S.IFSOCK) return undefined
  // Where poll(2) calls a stream socket writable, three quarters of its buffer are free.
  if (!canWrite(target)) return 0
  const length = Math.min(count, PIECE_BYTES)
  const sent = outcome("sendfile", () => libc.sendfile(descriptor(target), descriptor(source), offset, length))
  if (sent >= 0) return sent
  if (sent === -EAGAIN || sent === -EINTR) return 0
  if (sent === -EINVAL || sent === -ENOSYS) return undefined
  throw failureOf("sendfile", sent)
}

/** lseek(2); returns the new position. ENXIO for SEEK_DATA past the last data. */
export function seek(fd: number, offset: number, whence: number): number {
  return checked("lseek", () => libc.lseek(descriptor(fd), offset, whence))
}

/** ftruncate(2). */
export function setLength(fd: number, length: number): void {
  retried("ftruncate", () => libc.ftruncate(descriptor(fd), length))
}

/**
 * Gives back the blocks of a part of a file, which then reads as zeros; its length stays (fallocate(2) with
 * FALLOC_FL_PUNCH_HOLE). EOPNOTSUPP where the file system cannot.
 */
export function punchHole(fd: number, offset: number, length: number): void {
  retried("fallocate", () => libc.fallocate(descriptor(fd), PUNCH_HOLE | KEEP_SIZE, offset, length))
}

/** Has the file system keep blocks for the first `length` bytes of a file (fallocate(2)). EOPNOTSUPP where it cannot. */
export function allocate(fd: number, length: number): void {
  retried("fallocate", () => libc.fallocate(descriptor(fd), 0, 0, length))
}

/** fsync(2): what was written, or the names of a directory, last through a loss of power. */
export function sync(fd: number): void {
  retried("fsync", () => libc.fsync(descriptor(fd)))
}

// --- internal ---

const [EINTR, EAGAIN, EINVAL, ENOSYS] = [4, 11, 22, 38]

/** Fits into what is free of a socket's buffer, whose default is 208 KiB. */
const PIECE_BYTES = 32 * 1024

const KEEP_SIZE = 1
const PUNCH_HOLE = 2
