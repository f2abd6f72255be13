import { watchPath } from "../files/watch.ts"

/** Waits this many milliseconds, so that a burst of writes costs one look. */
const BURST_MS = 15

/** How often to look where the kernel has no watch to give, in milliseconds. */
const POLL_MS = 250

/**
 * Calls `drain` once the kernel watches a file, so that whoever reads by it alone misses nothing, soon after each change, and again
 * while it returns false. What the first call throws is thrown, with nothing watched.
 */
export function watchFile(path: string, drain: () => boolean): { close(): void } {
  let timer: Timer | undefined
  let closed = false
  const look = () => {
    // What a slow sink left is offered again: there may be no new write.
    if (!drain()) soon()
  }
  const soon = () => {
    if (closed) return
    if (timer !== undefined) return
    timer = setTimeout(() => {
      timer = undefined
      look()
    }, BURST_MS)
    // A guest that writes and writes leaves its supervisor as idle as another (onceIdle).
    timer.unref()
  }
  const watcher = watchPath(path, soon, { pollMs: POLL_MS })
  const close = () => {
    closed = true
    watcher[Symbol.dispose]()
    clearTimeout(timer)
  }
  try {
    look()
  } catch (error) {
    close()
    throw error
  }
  return { close }
}
