import { type Pointer, ptr } from "bun:ffi"

/** A path or a single name, as text or as the bytes a directory listing gave. */
export type Path = string | Uint8Array

const encoder = new TextEncoder()

/**
 * The address of a path's NUL-terminated bytes, for the libc call that comes next: a few paths later it holds
 * another path. Throws on a NUL inside (C would silently cut the path there), on an unpaired surrogate (which has no
 * bytes), on an empty path, and on one longer than any kernel takes.
 */
export function cPath(path: Path): Pointer {
  if (path.length === 0) throw new TypeError("path is empty")
  const most = (typeof path === "string" ? path.length * 3 : path.length) + 1
  if (most > SCRATCH.length / 2) throw new TypeError(`path is too long: ${path.length} characters`)
  if (next + most > SCRATCH.length) next = FIRST
  const at = next
  next = at + put(path, at) + 1
  SCRATCH[next - 1] = 0
  return (ADDRESS + at) as Pointer
}

/** Zeroed memory with a fixed address. (Other small arrays move when somebody asks for their buffer.) */
export function fixed(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(length))
}

/** A file descriptor or AT_FDCWD. FFI would turn NaN, undefined and 1.5 into descriptors 0 and 1. */
export function descriptor(fd: number): number {
  if (!Number.isInteger(fd) || (fd < 0 && fd !== AT_FDCWD)) throw new TypeError(`not a file descriptor: ${fd}`)
  return fd
}

/** An integer of 0 to 2^32-1 (uid, gid, mode, flags). */
export function word(name: string, value: number): number {
  if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff)
    throw new TypeError(`${name} out of range: ${value}`)
  return value
}

/** A path for messages: bytes that are not UTF-8 become U+FFFD. */
export function shown(path: Path): string {
  return typeof path === "string" ? path : new TextDecoder().decode(path)
}

/** The directory that relative paths start from when no descriptor is given. */
export const AT_FDCWD = -100

// --- internal ---

/** A ring of paths. An array for each path would cost more than most calls. */
const SCRATCH = fixed(64 * 1024)
const ADDRESS: number = ptr(SCRATCH)

/** The bytes before it stay zero: they are the empty C string of AT_EMPTY_PATH calls. */
const FIRST = 8
let next = FIRST

/** The address of an empty C string. */
export const EMPTY_PATH: Pointer = ADDRESS as Pointer

function put(path: Path, at: number): number {
  if (typeof path !== "string") {
    if (path.includes(0)) throw new TypeError(`path has a NUL character: ${shown(path)}`)
    SCRATCH.set(path, at)
    return path.length
  }
  if (path.includes("\0")) throw new TypeError(`path has a NUL character: ${path}`)
  if (!path.isWellFormed()) throw new TypeError("path has an unpaired surrogate")
  return encoder.encodeInto(path, SCRATCH.subarray(at)).written
}
