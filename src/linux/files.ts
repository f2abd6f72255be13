import { AT, FICLONE, O, RENAME_NOREPLACE, RESOLVE, S } from "./constants.ts"
import { cPath, descriptor, EMPTY_PATH, type Path, shown, word } from "./guards.ts"
import { checked, libc, rawSyscall, retried } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"
import { packOpenHow, STATX_SIZE, type Stat, unpackStatx } from "./structs.ts"

/** openat(2). O_CLOEXEC is always set. The caller closes the descriptor. */
export function openAt(dir: number, path: Path, flags: number, mode = 0): number {
  const name = cPath(path)
  const run = () => libc.openat(descriptor(dir), name, flags | O.CLOEXEC, word("mode", mode))
  return retried("openat", run, shown(path))
}

/**
 * openat2(2), Linux 5.6: opens `path` below `dir` and never leaves it. No symlink is followed in any component, no
 * `..` climbs out, no mount is crossed. Fails with ELOOP, EXDEV or ENOENT. The caller closes the descriptor.
 */
export function openBeneath(dir: number, path: Path, flags: number, mode = 0): number {
  const resolve = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS | RESOLVE.NO_XDEV
  const how = packOpenHow(flags | O.CLOEXEC, word("mode", mode), resolve)
  const number = syscallNumber("openat2")
  return rawSyscall("openat2", number, [descriptor(dir), cPath(path), how, how.length], shown(path))
}

/** close(2). Never retried: after EINTR Linux has released the descriptor already. */
export function close(fd: number): void {
  checked("close", libc.close(descriptor(fd)))
}

/** Runs `use` with a descriptor and closes it however `use` ends. */
export function withDescriptor<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd)
  } finally {
    close(fd)
  }
}

/** statx(2), Linux 4.11, of a descriptor (also one opened with O_PATH). */
export function statDescriptor(fd: number): Stat {
  return statx(fd, EMPTY_PATH, AT.EMPTY_PATH)
}

/** statx(2) of a name in a directory; a symlink is not followed. */
export function statAt(dir: number, path: Path): Stat {
  return statx(dir, cPath(path), AT.SYMLINK_NOFOLLOW, shown(path))
}

/** Whether `stat` is of the given file type, one of `S.IF…`. */
export function isType(stat: Stat, type: number): boolean {
  return (stat.mode & S.IFMT) === type
}

/** mkdirat(2); the mode is cut by the umask. EEXIST is thrown as any other error. */
export function mkdirAt(dir: number, path: Path, mode: number): void {
  checked("mkdirat", libc.mkdirat(descriptor(dir), cPath(path), word("mode", mode)), shown(path))
}

/** Makes a FIFO by mknodat(2); the mode is cut by the umask. */
export function mkfifoAt(dir: number, path: Path, mode: number): void {
  checked("mknodat", libc.mknodat(descriptor(dir), cPath(path), word("mode", S.IFIFO | mode), 0), shown(path))
}

/** unlinkat(2) of a file, never of a directory. */
export function unlinkAt(dir: number, path: Path): void {
  checked("unlinkat", libc.unlinkat(descriptor(dir), cPath(path), 0), shown(path))
}

/** Removes an empty directory by unlinkat(2). */
export function rmdirAt(dir: number, path: Path): void {
  checked("unlinkat", libc.unlinkat(descriptor(dir), cPath(path), AT.REMOVEDIR), shown(path))
}

/** Gives the very inode of `fd` a second name. Needs /proc, not CAP_DAC_READ_SEARCH. EXDEV between file systems. */
export function linkDescriptor(fd: number, dir: number, path: Path): void {
  const source = cPath(`/proc/self/fd/${descriptor(fd)}`)
  const result = libc.linkat(-100, source, descriptor(dir), cPath(path), AT.SYMLINK_FOLLOW)
  checked("linkat", result, shown(path))
}

/** renameat2(2) with RENAME_NOREPLACE, Linux 3.15: EEXIST when the new name is taken. */
export function renameNoReplace(dir: number, from: Path, newDir: number, to: Path): void {
  const number = syscallNumber("renameat2")
  const args = [descriptor(dir), cPath(from), descriptor(newDir), cPath(to), RENAME_NOREPLACE]
  rawSyscall("renameat2", number, args, shown(to))
}

/** Writes all of `bytes`, however many write(2) calls that takes. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  let rest = bytes
  while (rest.length > 0) {
    const chunk = rest
    rest = rest.subarray(retried("write", () => libc.write(descriptor(fd), chunk, chunk.length)))
  }
}

/** Reads a descriptor from where it stands to its end; throws when there are more than `limit` bytes. */
export function readAll(fd: number, limit: number): Uint8Array<ArrayBuffer> {
  const buffer = new Uint8Array(limit + 1)
  let length = 0
  for (;;) {
    const rest = buffer.subarray(length)
    const count = rest.length === 0 ? 0 : retried("read", () => libc.read(descriptor(fd), rest, rest.length))
    if (length + count > limit) throw new RangeError(`larger than ${limit} bytes`)
    if (count === 0) return buffer.slice(0, length)
    length += count
  }
}

/** Shares all of one file's blocks with another (ioctl_ficlone(2)). EOPNOTSUPP, EXDEV or EINVAL where it cannot. */
export function cloneInto(source: number, target: number): void {
  checked("ioctl(FICLONE)", libc.ioctl(descriptor(target), FICLONE, descriptor(source)))
}

/** copy_file_range(2) from the two files' positions; returns the bytes copied, 0 at the end. */
export function copyRange(source: number, target: number, length: number): number {
  const number = syscallNumber("copy_file_range")
  return rawSyscall("copy_file_range", number, [descriptor(source), 0, descriptor(target), 0, length, 0])
}

/** lseek(2); returns the new position. ENXIO for SEEK_DATA past the last data. */
export function seek(fd: number, offset: number, whence: number): number {
  return checked("lseek", libc.lseek(descriptor(fd), offset, whence))
}

/** ftruncate(2). */
export function setLength(fd: number, length: number): void {
  retried("ftruncate", () => libc.ftruncate(descriptor(fd), length))
}

/** Sets or lifts an advisory lock (flock(2)). With LOCK.NB a held lock is EAGAIN. */
export function flock(fd: number, operation: number): void {
  retried("flock", () => libc.flock(descriptor(fd), operation))
}

/** fchmod(2). */
export function chmodDescriptor(fd: number, mode: number): void {
  checked("fchmod", libc.fchmod(descriptor(fd), word("mode", mode)))
}

/** Whether a file, by descriptor, has an extended attribute (getxattr(2) through /proc; works with O_PATH). */
export function hasAttribute(fd: number, name: string): boolean {
  const path = `/proc/self/fd/${descriptor(fd)}`
  try {
    checked("getxattr", libc.getxattr(cPath(path), cPath(name), null, 0), path)
    return true
  } catch (error) {
    // Both mean "none here": the file has no such attribute, or its file system keeps none at all.
    if (error instanceof Error && "code" in error && (error.code === "ENODATA" || error.code === "EOPNOTSUPP"))
      return false
    throw error
  }
}

// --- internal ---

/** STATX_BASIC_STATS | STATX_MNT_ID (Linux 5.8). */
const STATX_MASK = 0x7ff | 0x1000

function statx(dir: number, path: Uint8Array, flags: number, subject?: string): Stat {
  const out = new Uint8Array(STATX_SIZE)
  rawSyscall("statx", syscallNumber("statx"), [descriptor(dir), path, flags, STATX_MASK, out], subject)
  return unpackStatx(out)
}
