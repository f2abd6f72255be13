/** A path or a single name, as text or as the bytes a directory listing gave. */
export type Path = string | Uint8Array

const encoder = new TextEncoder()

/**
 * NUL-terminated bytes of a path for libc. Throws on a NUL inside (C would silently cut the path there), on an
 * unpaired surrogate (it has no bytes of its own), and on nothing.
 */
export function cPath(path: Path): Uint8Array {
  if (typeof path === "string" && !path.isWellFormed()) throw new TypeError("path has an unpaired surrogate")
  const bytes = typeof path === "string" ? encoder.encode(path) : path
  if (bytes.length === 0) throw new TypeError("path is empty")
  if (bytes.includes(0)) throw new TypeError(`path has a NUL character: ${shown(path)}`)
  const terminated = new Uint8Array(bytes.length + 1)
  terminated.set(bytes)
  return terminated
}

/** The one empty C string that AT_EMPTY_PATH calls take. */
export const EMPTY_PATH: Uint8Array = new Uint8Array(1)

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

/** A path for messages: bytes that are no UTF-8 become U+FFFD. */
export function shown(path: Path): string {
  return typeof path === "string" ? path : new TextDecoder().decode(path)
}

/** The directory that relative paths start from when no descriptor is given. */
export const AT_FDCWD = -100
