import {
  closeSync,
  type FSWatcher,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  watch,
  writeSync,
} from "node:fs"

/** A growing file that is kept below its limit and shown as it grows. */
export interface Follower {
  /** Shows what is there now; false when the sink did not take it all. Call it until true when the writer has gone. */
  drain(): boolean
  close(): void
}

/** Shows bytes and tells how many it took; fewer than it was given when it would have to wait. */
export type Sink = (chunk: Uint8Array) => number

/** A burst of writes is looked at once, after this many milliseconds. */
const BURST = 15

/** How often to look where the kernel has no watch left to give. */
const FALLBACK_INTERVAL = 250

const CHUNK = 64 * 1024

/**
 * Follows a file that a VMM appends to (its descriptor must be O_APPEND). New bytes go to `sink`. When the file has
 * half of `limit` bytes it becomes the older half, `<path>.old`, by copy and truncate: the VMM holds the file itself,
 * so it cannot be renamed away. Bytes written between the last read and the truncation (microseconds) are lost, and
 * what a slow sink has not taken by then is not shown.
 */
export function follow(path: string, limit: number, sink: Sink): Follower {
  const fd = openSync(path, "r+")
  const buffer = new Uint8Array(CHUNK)
  let shown = 0

  /** Shows up to `end`; false when the sink would have to wait. */
  const show = (end: number): boolean => {
    while (shown < end) {
      const count = readSync(fd, buffer, 0, Math.min(CHUNK, end - shown), shown)
      const taken = count === 0 ? 0 : sink(buffer.subarray(0, count))
      shown += taken
      if (taken < count || count === 0) return false
    }
    return true
  }
  const drain = (): boolean => {
    for (;;) {
      const { size } = fstatSync(fd)
      const all = show(size)
      if (size < limit / 2) return all
      show(keepOlderHalf(fd, `${path}.old`))
      ftruncateSync(fd, 0)
      shown = 0
    }
  }

  const watcher = watchFile(path, drain)
  return {
    drain,
    close() {
      watcher.close()
      closeSync(fd)
    },
  }
}

/** The last bytes of a file as text; empty when there is none. */
export function tailOf(path: string, bytes: number): string {
  let fd: number
  try {
    fd = openSync(path, "r")
  } catch {
    // No file means nothing was ever written to it.
    return ""
  }
  try {
    const { size } = fstatSync(fd)
    const buffer = new Uint8Array(Math.min(size, bytes))
    const count = readSync(fd, buffer, 0, buffer.length, Math.max(0, size - bytes))
    return new TextDecoder().decode(buffer.subarray(0, count))
  } finally {
    closeSync(fd)
  }
}

// --- internal ---

/** Copies all that a file has up to its end at that moment, which it returns. */
function keepOlderHalf(fd: number, path: string): number {
  const temporary = `${path}.tmp`
  const to = openSync(temporary, "w", 0o600)
  try {
    const buffer = new Uint8Array(CHUNK)
    let at = 0
    for (let count = -1; count !== 0; at += count) {
      count = readSync(fd, buffer, 0, CHUNK, at)
      for (let done = 0; done < count; ) done += writeSync(to, buffer, done, count - done)
    }
    renameSync(temporary, path)
    return at
  } finally {
    closeSync(to)
  }
}

function watchFile(path: string, drain: () => boolean): { close(): void } {
  let timer: Timer | undefined
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = undefined
      // What a slow sink left over is offered again without a new write having to come.
      if (!drain()) soon()
    }, BURST)
  }
  let interval: Timer | undefined
  const lookFromTimeToTime = () => {
    interval ??= setInterval(soon, FALLBACK_INTERVAL)
    interval.unref()
  }
  let watcher: FSWatcher | undefined
  try {
    watcher = watch(path, { persistent: false }, soon)
    watcher.on("error", lookFromTimeToTime)
  } catch {
    // No inotify watch to be had: a limit of the host.
    lookFromTimeToTime()
  }
  return {
    close() {
      watcher?.close()
      clearInterval(interval)
      clearTimeout(timer)
    },
  }
}
