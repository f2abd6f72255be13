import { ptr } from "bun:ffi"
import { descriptor, fixed } from "./guards.ts"
import { libc, retried } from "./libc.ts"

/** The magic number of the file system that a descriptor's file is on (fstatfs(2), linux/magic.h). O_PATH is enough. */
export function fileSystemMagic(fd: number): number {
  retried("fstatfs", () => libc.fstatfs(descriptor(fd), STATFS_AT))
  // `f_type` comes first; the upper half of its word says nothing.
  return new DataView(STATFS.buffer).getUint32(0, true)
}

// --- internal ---

const STATFS = fixed(128)
const STATFS_AT = ptr(STATFS)
