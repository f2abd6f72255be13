import { type FSWatcher, watch } from "node:fs"
import { countedApart } from "../../base/linux/credentials.ts"

/** How a path is watched. */
export interface WatchOptions {
  /** How often to look where the kernel has no watch to give, in milliseconds. */
  readonly pollMs: number
  /** Looks that often in any case, where the kernel does not tell of every change. This keeps the process alive. */
  readonly always?: boolean
  /** Of a directory: the only names whose changes count. */
  readonly names?: readonly string[]
}

/**
 * Calls `changed` after each change of a file, or of the names in a directory, until it is disposed. It may be called
 * without a change. Throws nothing: a path that cannot be watched is looked at every `pollMs`.
 */
export function watchPath(path: string, changed: () => void, { pollMs, always, names }: WatchOptions): Disposable {
  let interval: Timer | undefined
  const poll = () => {
    interval ??= setInterval(changed, pollMs)
    if (always !== true) interval.unref()
  }
  let watcher: FSWatcher | undefined
  prepare()
  try {
    watcher = watch(path, { persistent: false }, (_event, name) => {
      if (watcher !== undefined && (names === undefined || names.includes(name ?? ""))) changed()
    })
    watcher.on("error", poll)
  } catch {
    // The host has no watch left to give, or the path is not there.
    poll()
  }
  if (always === true) poll()
  return {
    [Symbol.dispose]() {
      clearInterval(interval)
      watcher?.close()
      // An event that was on its way is dropped: the caller has closed what it would look at.
      watcher = undefined
    },
  }
}

/** Changes of a path, for those who wait for the next one. */
export interface Changes extends Disposable {
  /** Resolves when there may have been a change since the last call, or once the signal is aborted. */
  next(signal: AbortSignal): Promise<void>
}

/** As `watchPath`, to be awaited. It wakes every `pollMs` in any case, so nobody waits in vain. */
export function changesOf(path: string, options: Omit<WatchOptions, "always">): Changes {
  let news = false
  let wake = () => {}
  const tell = () => {
    news = true
    wake()
  }
  const watcher = watchPath(path, tell, { ...options, always: true })
  return {
    next: (signal) =>
      new Promise((resolve) => {
        const done = () => {
          signal.removeEventListener("abort", done)
          wake = () => {}
          news = false
          resolve()
        }
        wake = done
        signal.addEventListener("abort", done, { once: true })
        if (news || signal.aborted) done()
      }),
    [Symbol.dispose]: () => watcher[Symbol.dispose](),
  }
}

// --- internal ---

let prepared = false

/**
 * Bun makes one inotify instance for all that a process watches, at its first watch, and keeps it, with a thread that reads it
 * and does nothing else.
 */
function prepare(): void {
  if (prepared) return
  prepared = true
  try {
    countedApart(() => watch("/", { persistent: false }, () => {}).close())
  } catch {
    // The host has none left to give.
  }
}
