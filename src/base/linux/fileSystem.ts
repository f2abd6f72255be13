import { ptr } from "bun:ffi"
import { descriptor, fixed } from "./guards.ts"
import { libc, retried } from "./libc.ts"

/** What kind of file system a descriptor's file is on: its magic number (fstatfs(2), linux/magic.h). O_PATH will do. */
export function fileSystemMagic(fd: number): number {
  retried("fstatfs", () => libc.fstatfs(descriptor(fd), STATFS_AT))
  // `f_type` comes first: a word whose upper half says nothing.
  return new DataView(STATFS.buffer).getUint32(0, true)
}

// --- internal ---

const STATFS = fixed(128)
const STATFS_AT = ptr(STATFS)
