import { fstatSync, readSync } from "node:fs"
import { punchHole, setLength } from "../../base/linux/content.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { keptFrom } from "./growing.ts"

/**
 * Keeps an open file below its limit: with that many bytes or more in it, the older half becomes a hole. Returns how many
 * bytes it gave up.
 */
export function keepDescriptorBelow(fd: number, limitBytes: number): number {
  const { size } = fstatSync(fd)
  if (size < limitBytes) return 0
  const start = keptFrom(fd, 0)
  if (size - start < limitBytes) return 0
  const kept = forgetOlderHalf(fd, { start, size, limitBytes })
  return kept === 0 ? size : kept - start
}

/**
 * Makes a hole of what is before the newer half of the limit, and returns where the file begins now. Where the file system
 * has no holes, the file is emptied.
 */
export function forgetOlderHalf(
  fd: number,
  { start, size, limitBytes }: { readonly start: number; readonly size: number; readonly limitBytes: number },
): number {
  const end = Math.floor((size - limitBytes / 2) / BLOCK_BYTES) * BLOCK_BYTES
  try {
    punchHole(fd, start, end - start)
    return end
  } catch (error) {
    if (errorCode(error) !== "EOPNOTSUPP" && errorCode(error) !== "ENOSYS") throw error
    // A file system without holes. That the file is bounded matters more than its history.
    setLength(fd, 0)
    return 0
  }
}

/** The last bytes of an open file, byte by byte as text. */
export function lastBytes(fd: number, length: number): string {
  const { size } = fstatSync(fd)
  const buffer = new Uint8Array(Math.min(length, size))
  return Buffer.from(buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, size - buffer.length))).toString(
    "latin1",
  )
}

// --- internal ---

/** Holes are made of whole blocks; no common file system has smaller ones. */
const BLOCK_BYTES = 4096
