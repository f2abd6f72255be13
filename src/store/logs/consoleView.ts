import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import { errorCode } from "../../base/linux/errors.ts"
import { keptFrom, type Sink } from "./boundedFile.ts"
import { watchFile } from "./watchFile.ts"

const CHUNK_BYTES = 64 * 1024

/** A console as it grows. */
export interface Shown {
  /** Shows what is there now; false when that was not taken whole. */
  drain(): boolean
  close(): void
}

/**
 * Shows a VM's console from `tail` bytes before its end on (all that is kept of it, when undefined), and what comes.
 * What `show` does not take is offered again. The very file is held: at the VM's end a shorter one may take its place.
 */
export function followConsole(path: string, tail: number | undefined, show: Sink): Shown {
  let fd: number | undefined
  let at = 0
  const buffer = new Uint8Array(CHUNK_BYTES)
  const drain = (): boolean => {
    if (fd === undefined) {
      fd = opened(path)
      if (fd === undefined) return true
      at = tail === undefined ? 0 : Math.max(0, sizeOf(fd) - tail)
    }
    for (;;) {
      at = keptFrom(fd, at)
      const count = readSync(fd, buffer, 0, CHUNK_BYTES, at)
      if (count === 0) return true
      const taken = show(buffer.slice(0, count))
      at += taken
      if (taken < count) return false
    }
  }
  drain()
  const watcher = watchFile(path, drain)
  return {
    drain,
    close() {
      watcher.close()
      if (fd !== undefined) closeSync(fd)
    },
  }
}

// --- internal ---

function opened(path: string): number | undefined {
  try {
    return openSync(path, "r")
  } catch (error) {
    // A VM that has not come to write anything yet.
    if (errorCode(error) === "ENOENT") return undefined
    throw error
  }
}

function sizeOf(fd: number): number {
  return fstatSync(fd).size
}
