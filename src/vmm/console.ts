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

/** A growing file that is kept below its limit and, when asked, shown as it grows. */
export interface Follower {
  /** Takes in what is there now; call it once more when the writer has gone. */
  drain(): void
  close(): void
}

/** A burst of writes is looked at once, after this many milliseconds. */
const BURST = 15

/** How often to look where the kernel has no watch left to give. */
const FALLBACK_INTERVAL = 250

const CHUNK = 64 * 1024

/**
 * Follows a file that a VMM appends to (its descriptor must be O_APPEND). New bytes go to `sink`. When the file has
 * half of `limit` bytes it becomes the older half, `<path>.old`, by copy and truncate: the VMM holds the file itself,
 * so it cannot be renamed away. Bytes written between the last read and the truncation (microseconds) are lost.
 */
export function follow(path: string, limit: number, sink: (chunk: Uint8Array) => void): Follower {
  const fd = openSync(path, "r+")
  const buffer = new Uint8Array(CHUNK)
  let position = 0

  const drain = () => {
    for (;;) {
      const count = readSync(fd, buffer, 0, CHUNK, position)
      if (count === 0) break
      position += count
      sink(buffer.slice(0, count))
      if (position >= limit / 2) rotate()
    }
  }
  const rotate = () => {
    copyTo(fd, `${path}.old`, position)
    // Nothing of what came meanwhile is skipped: it is read before the cut, as long as there is any.
    for (let count = readSync(fd, buffer, 0, CHUNK, position); count > 0; ) {
      position += count
      sink(buffer.slice(0, count))
      count = readSync(fd, buffer, 0, CHUNK, position)
    }
    ftruncateSync(fd, 0)
    position = 0
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

/** The kernel's own words in a console's last bytes, when it panicked there. */
export function findPanic(consoleTail: string): string | undefined {
  return /^(?:\[ *\d+\.\d+\] )?Kernel panic - not syncing: ([^\r\n]*)/m.exec(consoleTail)?.[1]?.trim()
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

function copyTo(fd: number, path: string, length: number): void {
  const temporary = `${path}.tmp`
  const to = openSync(temporary, "w", 0o600)
  try {
    const buffer = new Uint8Array(CHUNK)
    for (let at = 0; at < length; ) {
      const count = readSync(fd, buffer, 0, Math.min(CHUNK, length - at), at)
      if (count === 0) break
      for (let done = 0; done < count; ) done += writeSync(to, buffer, done, count - done)
      at += count
    }
  } finally {
    closeSync(to)
  }
  renameSync(temporary, path)
}

function watchFile(path: string, onChange: () => void): { close(): void } {
  let timer: Timer | undefined
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = undefined
      onChange()
    }, BURST)
  }
  let watcher: FSWatcher | undefined
  let interval: Timer | undefined
  try {
    watcher = watch(path, { persistent: false }, soon)
    watcher.on("error", () => watcher?.close())
  } catch {
    // No inotify watch to be had (a limit of the host): look from time to time instead.
    interval = setInterval(onChange, FALLBACK_INTERVAL)
    interval.unref()
  }
  return {
    close() {
      watcher?.close()
      clearInterval(interval)
      clearTimeout(timer)
    },
  }
}
