import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import { seek } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import type { Source } from "../../base/linux/writer.ts"

// The room logs: files that grow: read as they come, shown, and kept below a limit.
// The rule: what a slow reader does not take holds up neither the writer nor the limit.

/**
 * Shows bytes and returns how many it took: fewer than it was given when it would have to wait. `source`: the same bytes, where
 * they may be taken so that it is noted at once.
 */
export type Sink = (chunk: Uint8Array, source?: Source) => number

/** A file that another process appends to, read from where the last reading stopped. */
export interface Growing {
  /** Hands what is there now to `show`; false when it did not take all, which is offered again. `show` may keep a chunk. */
  drain(show: Sink): boolean
  close(): void
}

/** Where the reading of a file begins: bytes before its end, or so many of its last lines. */
export type Tail = number | { readonly lines: number }

/**
 * Reads a growing file from its `tail` on (from its beginning, when undefined), past the hole that older
 * bytes may have become. A missing file is looked for again at each `drain`. The first file found is held to the end,
 * although a shorter one takes its name when the VM ends.
 */
export function readGrowing(path: string, tail?: Tail): Growing {
  let fd: number | undefined
  let at = 0
  const open = () => {
    const opened = unlessAbsent(() => openSync(path, "r"))
    if (opened === undefined || tail === undefined) return opened
    at = typeof tail === "number" ? Math.max(0, fstatSync(opened).size - tail) : lastLinesFrom(opened, tail.lines)
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

/** The last bytes of a file as text; empty when it cannot be read, because the text only explains another failure. */
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

/** The first offset from `offset` on whose byte is kept: past the hole that was made of older bytes. */
export function keptFrom(fd: number, offset: number): number {
  const at = unlessAbsent(() => seek(fd, offset, SEEK_DATA), ["ENXIO"]) ?? offset
  if (at === offset) return at
  // Where the file system's blocks are larger than ours, the rest of a block of the hole reads as zeros.
  const buffer = new Uint8Array(CHUNK_BYTES)
  const count = readSync(fd, buffer, 0, CHUNK_BYTES, at)
  const zeros = buffer.subarray(0, count).findIndex((byte) => byte !== 0)
  return at + (zeros === -1 ? count : zeros)
}

// --- internal ---

const CHUNK_BYTES = 64 * 1024

/** The offset of the first of a file's last lines. The last may be one that has no end yet. */
function lastLinesFrom(fd: number, lines: number): number {
  const { size } = fstatSync(fd)
  const first = keptFrom(fd, 0)
  const buffer = Buffer.alloc(CHUNK_BYTES)
  let left = lines
  for (let end = size; end > first; ) {
    const start = Math.max(first, end - CHUNK_BYTES)
    const chunk = buffer.subarray(0, readSync(fd, buffer, 0, end - start, start))
    for (let at = chunk.length - 1; at >= 0; at--) {
      // The end of the last line is not one between two.
      if (chunk[at] !== 0x0a || start + at === size - 1) continue
      left -= 1
      if (left === 0) return start + at + 1
    }
    end = start
  }
  return lines === 0 ? size : first
}

const SEEK_DATA = 3
