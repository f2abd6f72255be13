import { ptr } from "bun:ffi"
import { statfsSync } from "node:fs"
import { AT } from "./constants.ts"
import { unlessAbsent } from "./errors.ts"
import { cPath, descriptor, EMPTY_PATH, word } from "./guards.ts"
import { checked, libc, outcome } from "./libc.ts"

/** Changes the mode of the very inode of a descriptor, also of one opened with O_PATH; ENOTSUP for a symlink's. */
export function chmodDescriptor(fd: number, mode: number): void {
  // fchmod(2) refuses O_PATH descriptors, and fchmodat2(2) came with Linux 6.6.
  const path = procPath(fd)
  const name = cPath(path)
  checked("fchmodat", () => libc.fchmodat(-100, name, word("mode", mode), 0), path)
}

/** Changes the owner of the very inode of a descriptor, also of one opened with O_PATH (fchownat(2), AT_EMPTY_PATH). */
export function chownDescriptor(fd: number, uid: number, gid: number): void {
  const run = () => libc.fchownat(descriptor(fd), EMPTY_PATH, word("uid", uid), word("gid", gid), AT.EMPTY_PATH)
  checked("fchownat", run, `descriptor ${fd}`)
}

/** As `chownDescriptor` for the owner alone, and tells a failure by its negative errno instead of throwing. */
export function tryChownDescriptor(fd: number, uid: number): number {
  const run = () => libc.fchownat(descriptor(fd), EMPTY_PATH, word("uid", uid), KEEP, AT.EMPTY_PATH)
  return outcome("fchownat", run, `descriptor ${fd}`)
}

/** Whether a file, by descriptor, has an extended attribute (getxattr(2) through /proc; works with O_PATH). */
export function hasAttribute(fd: number, name: string): boolean {
  const path = procPath(fd)
  const [file, attribute] = [cPath(path), cPath(name)]
  const length = unlessAbsent(
    () => checked("getxattr", () => libc.getxattr(file, attribute, null, 0), path),
    NO_ATTRIBUTE,
  )
  return length !== undefined
}

/** The text of an extended attribute of a file, by descriptor, if it has one of at most 4 KiB (works with O_PATH). */
export function readAttribute(fd: number, name: string): string | undefined {
  const path = procPath(fd)
  const buffer = new Uint8Array(ATTRIBUTE_MAX_BYTES)
  const [file, attribute] = [cPath(path), cPath(name)]
  const length = unlessAbsent(
    () => checked("getxattr", () => libc.getxattr(file, attribute, ptr(buffer), buffer.length), path),
    NO_ATTRIBUTE,
  )
  return length === undefined ? undefined : new TextDecoder().decode(buffer.subarray(0, length))
}

/** Gives a file, by descriptor, an extended attribute (setxattr(2) through /proc; works with O_PATH). */
export function writeAttribute(fd: number, name: string, value: string): void {
  const path = procPath(fd)
  const bytes = new TextEncoder().encode(value)
  const [file, attribute] = [cPath(path), cPath(name)]
  checked("setxattr", () => libc.setxattr(file, attribute, ptr(bytes), bytes.length, 0), path)
}

/** Clears the immutable and append-only flags of an inode (ioctl_iflags(2)). The descriptor must not be O_PATH. */
export function makeMutable(fd: number): void {
  const flags = new Int32Array(2)
  checked("ioctl(FS_IOC_GETFLAGS)", () => libc.ioctl(descriptor(fd), FS_IOC_GETFLAGS, ptr(flags)))
  flags[0] = (flags[0] ?? 0) & ~(FS_IMMUTABLE_FL | FS_APPEND_FL)
  checked("ioctl(FS_IOC_SETFLAGS)", () => libc.ioctl(descriptor(fd), FS_IOC_SETFLAGS, ptr(flags)))
}

/** The path that reaches a descriptor's inode. Throws when /proc is not the kernel's. */
export function procPath(fd: number): string {
  if (!procIsReal()) throw new Error("/proc is not the kernel's proc file system: mount it (mount -t proc proc /proc)")
  return `/proc/self/fd/${descriptor(fd)}`
}

// --- internal ---

/** The file has no such attribute, or its file system keeps none at all. */
const NO_ATTRIBUTE = ["ENODATA", "EOPNOTSUPP"]

/** A gid that fchownat(2) leaves as it is. */
const KEEP = 0xffff_ffff
const ATTRIBUTE_MAX_BYTES = 4096
const FS_IOC_GETFLAGS = 0x80086601
const FS_IOC_SETFLAGS = 0x40086602
const FS_IMMUTABLE_FL = 0x10
const FS_APPEND_FL = 0x20
const PROC_SUPER_MAGIC = 0x9fa0

let procChecked = false

function procIsReal(): boolean {
  procChecked ||= statfsSync("/proc").type === PROC_SUPER_MAGIC
  return procChecked
}
