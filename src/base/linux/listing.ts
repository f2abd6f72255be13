import { S } from "./constants.ts"
import { unlessAbsent } from "./errors.ts"
import { descriptor, fixed } from "./guards.ts"
import { checked, libc, rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/** One name of a directory. Names are bytes: they need not be UTF-8. */
export interface Entry {
  readonly name: Uint8Array
  /** One of `S.IF…`, or 0 where the file system does not tell. */
  readonly type: number
}

/**
 * Some more names of a directory, without `.` and `..` (getdents64(2)), from where its descriptor stands. A directory of
 * any size takes little memory. Undefined at the end.
 */
export function nextEntries(dir: number): readonly Entry[] | undefined {
  const buffer = new Uint8Array(CHUNK_BYTES)
  const length = read(dir, buffer)
  return length === 0 ? undefined : unpackEntries(buffer.subarray(0, length))
}

/**
 * Returns once every call that was changing the names of a directory is over (getdents64(2) takes the directory's lock).
 * bind(2) holds that lock from before its socket's name can be seen until the socket answers (Linux 5.12).
 */
export function awaitChanges(dir: number): void {
  rewind(dir)
  read(dir, FEW)
}

/** Starts the listing of a directory again (lseek(2)). */
export function rewind(dir: number): void {
  checked("lseek", () => libc.lseek(descriptor(dir), 0, 0))
}

// --- internal ---

const CHUNK_BYTES = 32 * 1024
const DOT = 46

/** Room for one entry at least, whatever its name. */
const FEW = fixed(512)

function read(dir: number, buffer: Uint8Array): number {
  const number = syscallNumber("getdents64")
  // ENOENT: the directory itself was removed meanwhile, so nothing is in it.
  return unlessAbsent(() => rawSyscall("getdents64", number, [descriptor(dir), buffer, buffer.length])) ?? 0
}

function isDots(name: Uint8Array): boolean {
  return name.length <= 2 && name.every((byte) => byte === DOT)
}

/** `struct linux_dirent64`: u64 inode, i64 offset, u16 length, u8 type, name with its NUL. */
function unpackEntries(bytes: Uint8Array): readonly Entry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const entries: Entry[] = []
  for (let at = 0; at < bytes.length; at += view.getUint16(at + 16, true)) {
    const name = bytes.subarray(at + 19, bytes.indexOf(0, at + 19))
    if (!isDots(name)) entries.push({ name, type: (view.getUint8(at + 18) << 12) & S.IFMT })
  }
  return entries
}
