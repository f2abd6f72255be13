import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import { punchHole, setLength, writeAll } from "../../base/linux/content.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { replaceFileBy } from "../files/replaceFile.ts"
import { keptFrom, type Sink } from "./growing.ts"
import { watchFile } from "./watchFile.ts"

/** A growing file that is kept below its limit and shown as it grows. Nothing of it throws. */
export interface Follower {
  /** Shows what is there now; false when the sink did not take it all. Call it until true when the writer has gone. */
  drain(): boolean
  /** The writer has gone: leaves what is kept as a plain file. What was not shown yet still can be. */
  settle(): void
  close(): void
}

/** How a growing file is followed. */
export interface FollowOptions {
  /** It is kept below this size, in bytes. */
  readonly limit: number
  /** Where its content is shown; nowhere, when there is none. */
  readonly sink?: Sink
  readonly onTrouble: (what: string) => void
}

const NOT_SHOWN = "it is no longer shown"

const CHUNK_BYTES = 64 * 1024

/** Holes are made of whole blocks; no common file system has smaller ones. */
const BLOCK_BYTES = 4096

/**
 * Follows a file that a VMM appends to (its descriptor must be O_APPEND). New bytes go to `sink`. When there are `limit`
 * bytes the older half becomes a hole: the VMM holds the file itself, so it cannot be renamed away, and truncating it
 * would lose what is written meanwhile. What a slow sink has not taken by then is not shown. `onTrouble` hears once
 * that the sink failed, after which nothing more is shown, and once that the file cannot be kept small.
 */
export function follow(path: string, { limit, sink = takeAll, onTrouble }: FollowOptions): Follower {
  const fd = openSync(path, "r+")
  const buffer = new Uint8Array(CHUNK_BYTES)
  // One that was followed before may begin with a hole.
  let start = keptFrom(fd, 0)
  let shown = start
  const told = new Set<string>()
  const attempt = (what: string, work: () => void) => {
    try {
      work()
    } catch (error) {
      if (!told.has(what)) onTrouble(`${what}: ${messageOf(error)}`)
      told.add(what)
    }
  }

  const show = (end: number) => {
    while (shown < end) {
      const count = readSync(fd, buffer, 0, Math.min(CHUNK_BYTES, end - shown), shown)
      const taken = count === 0 ? 0 : sink(buffer.subarray(0, count))
      shown += taken
      if (taken < count || count === 0) return
    }
  }
  const drain = (): boolean => {
    let behind = false
    // Looked at once for both: what comes while it is shown is not to be forgotten before it was.
    let size = 0
    attempt(NOT_SHOWN, () => {
      size = fstatSync(fd).size
      if (told.has(NOT_SHOWN)) return
      show(size)
      behind = shown < size
    })
    attempt("it is not kept below its limit", () => {
      if (size - start < limit) return
      start = forgetBefore(fd, start, halfOf(size, limit))
      shown = start === 0 ? 0 : Math.max(shown, start)
    })
    return !behind
  }

  const watcher = watchFile(path, drain)
  return {
    drain,
    settle() {
      watcher.close()
      // Where it cannot be done the hole stays, which readers skip.
      if (start > 0) attempt("it could not be made smaller", () => keepOnly(fd, start, path))
    },
    close() {
      watcher.close()
      closeSync(fd)
    },
  }
}

/** Whether a file that nobody follows has its limit of bytes, or more. One that is not there has none. */
export function isFull(path: string, limit: number): boolean {
  return withLog(path, false, (fd, size) => size >= limit && size - keptFrom(fd, 0) >= limit)
}

/**
 * Keeps a file that nobody follows below its limit, as `follow` does: with `limit` bytes or more in it, the older half
 * becomes a hole. Returns how many bytes it gave up.
 */
export function keepBelow(path: string, limit: number): number {
  return withLog(path, 0, (fd, size) => {
    const start = keptFrom(fd, 0)
    if (size - start < limit) return 0
    const kept = forgetBefore(fd, start, halfOf(size, limit))
    return kept === 0 ? size : kept - start
  })
}

// --- internal ---

const takeAll: Sink = (chunk) => chunk.length

function withLog<T>(path: string, missing: T, use: (fd: number, size: number) => T): T {
  const fd = unlessAbsent(() => openSync(path, "r+"))
  if (fd === undefined) return missing
  try {
    return use(fd, fstatSync(fd).size)
  } finally {
    closeSync(fd)
  }
}

/** Where the newer half of what may be kept begins. */
function halfOf(size: number, limit: number): number {
  return Math.floor((size - limit / 2) / BLOCK_BYTES) * BLOCK_BYTES
}

/** Makes a hole of what is before `end`, and tells where the file begins now. */
function forgetBefore(fd: number, start: number, end: number): number {
  try {
    punchHole(fd, start, end - start)
    return end
  } catch (error) {
    if (errorCode(error) !== "EOPNOTSUPP" && errorCode(error) !== "ENOSYS") throw error
    // A file system without holes: a bounded file matters more than what it loses.
    setLength(fd, 0)
    return 0
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
