import { ptr } from "bun:ffi"
import { AT, LOCK, O, RENAME_NOREPLACE, RESOLVE, S } from "./constants.ts"
import { errorCode } from "./errors.ts"
import { AT_FDCWD, cPath, descriptor, EMPTY_PATH, fixed, type Path, shown, word } from "./guards.ts"
import { checked, libc, outcome, rawSyscall, retried } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"
import { OPEN_HOW_SIZE, packOpenHow, STATX_SIZE, type Stat, unpackStatx } from "./structs.ts"

/** openat(2). O_CLOEXEC is always set. The caller closes the descriptor. */
export function openAt(dir: number, path: Path, flags: number, mode = 0): number {
  const name = cPath(path)
  const run = () => libc.openat(descriptor(dir), name, flags | O.CLOEXEC, word("mode", mode))
  return retried("openat", run, shown(path))
}

/** As `openAt`, and tells a failure by its negative errno instead of throwing. */
export function tryOpenAt(dir: number, path: Path, flags: number): number {
  const name = cPath(path)
  return outcome("openat", () => libc.openat(descriptor(dir), name, flags | O.CLOEXEC, 0), shown(path))
}

/**
 * openat2(2), Linux 5.6: opens `path` below `dir` and never leaves it: it follows no symlink, climbs out by
 * no `..` and crosses no mount. Fails with ELOOP, EXDEV or ENOENT. The caller closes the descriptor.
 */
export function openBeneath(dir: number, path: Path, flags: number, mode = 0): number {
  return openResolved(dir, path, flags, mode, BENEATH | RESOLVE.NO_XDEV)
}

/** As `openBeneath`, and goes through mounts: for what is mounted below `dir` itself. */
export function openBeneathMounts(dir: number, path: Path, flags: number): number {
  return openResolved(dir, path, flags, 0, BENEATH)
}

/** openat2(2), Linux 5.6: opens a path, or fails with ELOOP when any component of it is a symlink, whoever put it there. */
export function openWithoutSymlinks(path: Path, flags: number): number {
  return openResolved(AT_FDCWD, path, flags, 0, RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS)
}

/**
 * openat2(2), Linux 5.6, of a path that a user named: symlinks are followed, the kernel's own magic ones
 * (`/proc/PID/root`, `/proc/PID/fd/N`) are not: ELOOP. The caller closes the descriptor.
 */
export function openNamed(path: Path, flags: number): number {
  // What was handed on is opened anew by its descriptor, whatever has its name by now.
  return typeof path === "string" && handed.has(path) ? openAt(AT_FDCWD, path, flags) : openUnhanded(path, flags)
}

/** As `openNamed`, of a path that was not handed on, whatever it is called: for what another user than this process's has named. */
export function openUnhanded(path: Path, flags: number): number {
  return openResolved(AT_FDCWD, path, flags, 0, RESOLVE.NO_MAGICLINKS)
}

/**
 * Lets `openNamed` open the very file of this descriptor, by the path that is returned, as long as the descriptor is not closed with
 * `takeHandedBack`. For files that were opened with the rights of another user than this process's.
 */
export function handOn(fd: number): string {
  const path = `/proc/self/fd/${descriptor(fd)}`
  handed.add(path)
  return path
}

/** Closes what was handed on. */
export function takeHandedBack(path: string): void {
  if (handed.delete(path)) close(Number(path.slice(path.lastIndexOf("/") + 1)))
}

/** memfd_create(2): a file in memory that no directory has, closed in children. The caller closes the descriptor. */
export function openMemory(name: string): number {
  return rawSyscall("memfd_create", syscallNumber("memfd_create"), [cPath(name), MFD_CLOEXEC], name)
}

/** close(2). Never retried: after EINTR Linux has released the descriptor already. */
export function close(fd: number): void {
  checked("close", () => libc.close(descriptor(fd)))
}

/**
 * Makes `to` a second descriptor of what `from` is, instead of what it was (dup3(2)). Children get it only when it is
 * `inherited`.
 */
export function replaceDescriptor(from: number, to: number, inherited = false): void {
  const flags = inherited ? 0 : O.CLOEXEC
  checked("dup3", () => libc.dup3(descriptor(from), descriptor(to), flags), `descriptor ${to}`)
}

/** Runs `use` with a descriptor and then closes the descriptor, also when `use` throws. */
export function withDescriptor<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd)
  } finally {
    closeAnyway(fd)
  }
}

/** Returns the descriptor unless `check` throws; then closes it and throws on. */
export function verified(fd: number, check: (fd: number) => void): number {
  try {
    check(fd)
    return fd
  } catch (error) {
    closeAnyway(fd)
    throw error
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

/** statx(2) of what a path leads to, symlinks and /proc's magic ones followed. */
export function statPath(path: Path): Stat {
  return statx(-100, cPath(path), 0, shown(path))
}

/** Whether `stat` is of the given file type, one of `S.IF…`. */
export function isType(stat: Stat, type: number): boolean {
  return (stat.mode & S.IFMT) === type
}

/** `device:inode`: which file it is, whatever its names are. */
export function inodeOf(stat: Stat): string {
  return `${stat.dev}:${stat.ino}`
}

/** mkdirat(2); the mode is cut by the umask. EEXIST is thrown as any other error. */
export function mkdirAt(dir: number, path: Path, mode: number): void {
  const name = cPath(path)
  checked("mkdirat", () => libc.mkdirat(descriptor(dir), name, word("mode", mode)), shown(path))
}

/** Makes a FIFO by mknodat(2); the mode is cut by the umask. */
export function mkfifoAt(dir: number, path: Path, mode: number): void {
  makeNode(dir, path, S.IFIFO | mode, 0)
}

/** Makes a device node by mknodat(2), of type `S.IFCHR` or `S.IFBLK` and number `major:minor`; the mode is cut by the umask. */
export function mknodAt(dir: number, path: Path, type: number, rdev: string, mode: number): void {
  makeNode(dir, path, type | mode, packDevice(rdev))
}

/** symlinkat(2): makes `path` a symlink with this text. */
export function symlinkAt(text: string, dir: number, path: Path): void {
  const [target, name] = [cPath(text), cPath(path)]
  checked("symlinkat", () => libc.symlinkat(target, descriptor(dir), name), shown(path))
}

/** unlinkat(2) of a file, never of a directory. */
export function unlinkAt(dir: number, path: Path): void {
  const name = cPath(path)
  checked("unlinkat", () => libc.unlinkat(descriptor(dir), name, 0), shown(path))
}

/** As `unlinkAt`, and tells a failure by its negative errno instead of throwing. */
export function tryUnlinkAt(dir: number, path: Path): number {
  const name = cPath(path)
  return outcome("unlinkat", () => libc.unlinkat(descriptor(dir), name, 0), shown(path))
}

/** Removes an empty directory by unlinkat(2). */
export function rmdirAt(dir: number, path: Path): void {
  const name = cPath(path)
  checked("unlinkat", () => libc.unlinkat(descriptor(dir), name, AT.REMOVEDIR), shown(path))
}

/** Gives the very inode of `fd` a second name. Needs /proc, not CAP_DAC_READ_SEARCH. EXDEV between file systems. */
export function linkDescriptor(fd: number, dir: number, path: Path): void {
  const [source, name] = [cPath(`/proc/self/fd/${descriptor(fd)}`), cPath(path)]
  checked("linkat", () => libc.linkat(-100, source, descriptor(dir), name, AT.SYMLINK_FOLLOW), shown(path))
}

/** linkat(2): a second name for what `from` names; a symlink itself, not what it leads to. */
export function linkAt(dir: number, from: Path, newDir: number, to: Path): void {
  const [source, name] = [cPath(from), cPath(to)]
  checked("linkat", () => libc.linkat(descriptor(dir), source, descriptor(newDir), name, 0), shown(to))
}

/** renameat2(2), which replaces what has the new name. */
export function renameAt(dir: number, from: Path, newDir: number, to: Path): void {
  rename(dir, from, newDir, to, 0)
}

/** renameat2(2) with RENAME_NOREPLACE, Linux 3.15: EEXIST when the new name is taken. */
export function renameNoReplace(dir: number, from: Path, newDir: number, to: Path): void {
  rename(dir, from, newDir, to, RENAME_NOREPLACE)
}

/** Sets or lifts an advisory lock (flock(2)). With LOCK.NB a held lock is EAGAIN. */
export function flock(fd: number, operation: number): void {
  retried("flock", () => libc.flock(descriptor(fd), operation))
}

/** Locks a file for this descriptor alone, without waiting (flock(2), LOCK_EX | LOCK_NB); false where another one has locked it. */
export function tryFlock(fd: number): boolean {
  try {
    flock(fd, LOCK.EX | LOCK.NB)
    return true
  } catch (error) {
    if (errorCode(error) === "EAGAIN") return false
    throw error
  }
}

/** Locks a whole file without waiting (fcntl(2), F_OFD_SETLK, Linux 3.15): for writing, or for reading. EAGAIN when it is locked. */
export function lockWhole(fd: number, write: boolean): void {
  const region = new Int16Array(new ArrayBuffer(32))
  region[0] = write ? F_WRLCK : F_RDLCK
  checked("fcntl(F_OFD_SETLK)", () => libc.fcntl(descriptor(fd), F_OFD_SETLK, ptr(region)))
}

// --- internal ---

/** The paths of `handOn`. */
const handed = new Set<string>()

const BENEATH = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS

// One buffer serves all calls: nothing else runs between filling it and reading it.
const STATX = fixed(STATX_SIZE)
const STATX_AT = ptr(STATX)
const OPEN_HOW = new Uint32Array(fixed(OPEN_HOW_SIZE).buffer)
const OPEN_HOW_AT = ptr(OPEN_HOW)

/** `struct flock` of asm-generic/fcntl.h: i16 type, i16 whence, i64 start, i64 length (0: to the end), i32 pid (0). */
const F_OFD_SETLK = 37
const F_RDLCK = 0
const F_WRLCK = 1

const MFD_CLOEXEC = 1

/** STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID (Linux 5.8). */
const STATX_MASK = 0x7ff | 0x800 | 0x1000

/** Ignores a failed close(2): Linux has released the descriptor all the same, and what its user threw matters more. */
function closeAnyway(fd: number): void {
  libc.close(descriptor(fd))
}

function openResolved(dir: number, path: Path, flags: number, mode: number, resolve: number): number {
  packOpenHow(OPEN_HOW, flags | O.CLOEXEC, word("mode", mode), resolve)
  const number = syscallNumber("openat2")
  return rawSyscall("openat2", number, [descriptor(dir), cPath(path), OPEN_HOW_AT, OPEN_HOW_SIZE], shown(path))
}

function makeNode(dir: number, path: Path, mode: number, device: number): void {
  const name = cPath(path)
  checked("mknodat", () => libc.mknodat(descriptor(dir), name, word("mode", mode), device), shown(path))
}

/** `dev_t` as glibc and musl encode it for minors and majors below 2^12 and 2^20. */
function packDevice(rdev: string): number {
  const [major = Number.NaN, minor = Number.NaN] = rdev.split(":").map(Number)
  if (!(major >= 0 && major < 0x1000 && minor >= 0 && minor < 0x10_0000))
    throw new TypeError(`not a device number: ${rdev}`)
  return (major << 8) | (minor & 0xff) | ((minor & 0xf_ff00) << 12)
}

function rename(dir: number, from: Path, newDir: number, to: Path, flags: number): void {
  const args = [descriptor(dir), cPath(from), descriptor(newDir), cPath(to), flags]
  rawSyscall("renameat2", syscallNumber("renameat2"), args, shown(to))
}

function statx(dir: number, path: number, flags: number, subject?: string): Stat {
  rawSyscall("statx", syscallNumber("statx"), [descriptor(dir), path, flags, STATX_MASK, STATX_AT], subject)
  return unpackStatx(STATX)
}
