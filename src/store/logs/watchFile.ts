import { type FSWatcher, watch } from "node:fs"

/** A burst of writes is looked at once, after this many milliseconds. */
const BURST_MS = 15

/** How often to look where the kernel has no watch left to give. */
const POLL_MS = 250

/** Calls `drain` soon after each change of a file, and again while it says false. */
export function watchFile(path: string, drain: () => boolean): { close(): void } {
  let timer: Timer | undefined
  let closed = false
  const soon = () => {
    // An event that was on its way: what is closed is not looked at again, its descriptor may be another's by now.
    if (closed) return
    timer ??= setTimeout(() => {
      timer = undefined
      // What a slow sink left over is offered again without a new write having to come.
      if (!drain()) soon()
    }, BURST_MS)
  }
  let interval: Timer | undefined
  const lookFromTimeToTime = () => {
    interval ??= setInterval(soon, POLL_MS)
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
      closed = true
      watcher?.close()
      clearInterval(interval)
      clearTimeout(timer)
    },
  }
}
