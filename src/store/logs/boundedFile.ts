import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import { writeAll } from "../../base/linux/content.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { replaceFileBy } from "../files/replaceFile.ts"
import { keptFrom, type Sink } from "./growing.ts"
import { forgetOlderHalf, keepDescriptorBelow } from "./keep.ts"
import type { Shown } from "./shown.ts"
import { watchFile } from "./watchFile.ts"

/** A growing file that is kept below its limit and shown as it grows. Its functions throw nothing. */
export interface Follower {
  /** Shows what is there now; false when the sink did not take it all. Once the writer has gone, call it until true. */
  drain(): boolean
  /** Once the writer has gone: turns what is kept into a plain file. The rest can still be shown. */
  settle(): void
  close(): void
}

/** How a growing file is followed. */
export interface FollowOptions {
  /** The file is kept below this size, in bytes. */
  readonly limitBytes: number
  /** Where its content is shown. Without a sink it is only kept small. */
  readonly sink?: Sink
  /** Where it is shown from, and noted how far it was: then in whole lines, until the writer has gone. */
  readonly shown?: Shown | undefined
  readonly onTrouble: (what: string) => void
}

const NOT_SHOWN = "it is no longer shown"

const CHUNK_BYTES = 64 * 1024

/**
 * Follows a file that a VMM appends to (its descriptor must be O_APPEND). What is there goes to `sink` at once, new bytes soon.
 * At `limitBytes` the older half becomes a hole: the VMM holds the file, so it cannot be renamed, and truncating it would lose
 * what is written meanwhile. What a slow sink has not taken by then is not shown. `onTrouble` hears once that the sink failed,
 * after which nothing more is shown, and once that the file cannot be kept small.
 */
export function follow(path: string, { limitBytes, sink = takeAll, shown: noted, onTrouble }: FollowOptions): Follower {
  const fd = openSync(path, "r+")
  const buffer = new Uint8Array(CHUNK_BYTES)
  // A file that was followed before may begin with a hole.
  let start = keptFrom(fd, 0)
  let shown = Math.max(start, Math.min(noted?.before ?? 0, fstatSync(fd).size))
  let whole = noted !== undefined
  const told = new Set<string>()
  const attempt = (what: string, work: () => void) => {
    try {
      work()
    } catch (error) {
      if (!told.has(what)) onTrouble(`${what}: ${messageOf(error)}`)
      told.add(what)
    }
  }

  /** False when the sink did not take all that is to be shown. */
  const show = (end: number): boolean => {
    while (shown < end) {
      const count = readSync(fd, buffer, 0, Math.min(CHUNK_BYTES, end - shown), shown)
      const ready = whole ? linesIn(buffer.subarray(0, count)) : count
      if (ready === 0) return count > 0
      noted?.note(shown)
      const taken = sink(buffer.subarray(0, ready), noted?.source(fd, ready))
      shown += taken
      noted?.note(shown)
      if (taken < ready) return false
    }
    return true
  }
  const drain = (): boolean => {
    let behind = false
    // One size for both steps: what comes during the first must not be given up by the second.
    let size = 0
    attempt(NOT_SHOWN, () => {
      size = fstatSync(fd).size
      if (told.has(NOT_SHOWN)) return
      behind = !show(size)
    })
    attempt("it is not kept below its limit", () => {
      if (size - start < limitBytes) return
      start = forgetOlderHalf(fd, { start, size, limitBytes })
      shown = start === 0 ? 0 : Math.max(shown, start)
    })
    return !behind
  }

  const watcher = watchFile(path, drain)
  return {
    drain,
    settle() {
      watcher.close()
      whole = false
      // If this fails, the hole stays, and readers skip it.
      if (start > 0) attempt("it could not be made smaller", () => keepOnly(fd, start, path))
    },
    close() {
      watcher.close()
      closeSync(fd)
    },
  }
}

/** Whether a file that nobody follows has reached its limit, in bytes. A missing file has not. */
export function isFull(path: string, limitBytes: number): boolean {
  return withLog(path, false, (fd, size) => size >= limitBytes && size - keptFrom(fd, 0) >= limitBytes)
}

/**
 * Keeps a file that nobody follows below its limit, as `follow` does: with that many bytes or more in it, the older half
 * becomes a hole. Returns how many bytes it gave up.
 */
export function keepBelow(path: string, limitBytes: number): number {
  return withLog(path, 0, (fd) => keepDescriptorBelow(fd, limitBytes))
}

// --- internal ---

const takeAll: Sink = (chunk) => chunk.length

/** How many of these bytes are whole lines; all, where a line is longer than they are. */
function linesIn(bytes: Uint8Array): number {
  const end = bytes.lastIndexOf(NEWLINE) + 1
  return end === 0 && bytes.length === CHUNK_BYTES ? bytes.length : end
}

const NEWLINE = "\n".charCodeAt(0)

function withLog<T>(path: string, missing: T, use: (fd: number, size: number) => T): T {
  const fd = unlessAbsent(() => openSync(path, "r+"))
  if (fd === undefined) return missing
  try {
    return use(fd, fstatSync(fd).size)
  } finally {
    closeSync(fd)
  }
}

/** Replaces a file with what it has from `start` on. */
function keepOnly(fd: number, start: number, path: string): void {
  replaceFileBy(path, (to) => {
    const buffer = new Uint8Array(CHUNK_BYTES)
    for (let at = start, count = -1; count !== 0; at += count) {
      count = readSync(fd, buffer, 0, CHUNK_BYTES, at)
      writeAll(to, buffer.subarray(0, count))
    }
  })
}
