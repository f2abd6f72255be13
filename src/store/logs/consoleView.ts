import { readGrowing, type Sink, type Tail } from "./growing.ts"
import { watchFile } from "./watchFile.ts"

/** A console as it grows. */
export interface Shown {
  /** Shows what is there now; false when not all of it was taken. */
  drain(): boolean
  close(): void
}

/**
 * Shows a VM's console from its `tail` on (all that is kept of it, when undefined), and what comes.
 * What `show` does not take is offered again.
 */
export function followConsole(path: string, tail: Tail | undefined, show: Sink): Shown {
  const file = readGrowing(path, tail)
  const drain = () => file.drain(show)
  const watcher = watchFile(path, drain)
  return {
    drain,
    close() {
      watcher.close()
      file.close()
    },
  }
}
