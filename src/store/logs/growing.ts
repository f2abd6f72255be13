import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import { seek } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"

/** Shows bytes and tells how many it took; fewer than it was given when it would have to wait. */
export type Sink = (chunk: Uint8Array) => number

/** A file that another process appends to, read from where the last reading stopped. */
export interface Growing {
  /** Hands what is there now to `show`, in chunks of its own; false when not all of it was taken, which is offered again. */
  drain(show: Sink): boolean
  close(): void
}

/**
 * Reads a file that grows from `tail` bytes before its end on (all of it, when undefined), past the hole that older bytes
 * may have become. A file that is not there is looked for again. Once it is found the very file is held: at a VM's end a
 * shorter one takes its name.
 */
export function readGrowing(path: string, tail?: number): Growing {
  let fd: number | undefined
  let at = 0
  const open = () => {
    const opened = unlessAbsent(() => openSync(path, "r"))
    if (opened !== undefined && tail !== undefined) at = Math.max(0, fstatSync(opened).size - tail)
    return opened
  }
  const buffer = new Uint8Array(CHUNK_BYTES)
  return {
    drain(show) {
      fd ??= open()
      while (fd !== undefined) {
        at = keptFrom(fd, at)
        const count = readSync(fd, buffer, 0, CHUNK_BYTES, at)
        if (count === 0) return true
        const taken = show(buffer.slice(0, count))
        at += taken
        if (taken < count) return false
      }
      return true
    },
    close() {
      if (fd !== undefined) closeSync(fd)
      fd = undefined
    },
  }
}

/** The last bytes of a file as text; empty when there is none, or it cannot be read: what it explains matters more. */
export function tailOf(path: string, bytes: number): string {
  const chunks: Uint8Array[] = []
  let left = bytes
  const file = readGrowing(path, bytes)
  try {
    // No more than was asked for, however fast it grows.
    file.drain((chunk) => {
      const taken = Math.min(chunk.length, left)
      chunks.push(chunk.subarray(0, taken))
      left -= taken
      return taken
    })
  } catch {
    return ""
  } finally {
    file.close()
  }
  return Buffer.concat(chunks).toString()
}

/** Where the bytes that are kept of a file begin, from an offset on: past the hole that was made of older ones. */
export function keptFrom(fd: number, offset: number): number {
  const at = unlessAbsent(() => seek(fd, offset, SEEK_DATA), ["ENXIO"]) ?? offset
  if (at === offset) return at
  // The file system's blocks may be larger than ours: of such a block only a part was given back, and that part reads as
  // zeros.
  const buffer = new Uint8Array(CHUNK_BYTES)
  const count = readSync(fd, buffer, 0, CHUNK_BYTES, at)
  const zeros = buffer.subarray(0, count).findIndex((byte) => byte !== 0)
  return at + (zeros === -1 ? count : zeros)
}

// --- internal ---

const CHUNK_BYTES = 64 * 1024

const SEEK_DATA = 3
