import { type FSWatcher, watch } from "node:fs"
import type { VmLayout } from "../store/state/places.ts"

/** Where the kernel tells of no change, and for what it does not tell of, things are looked at this often, in milliseconds. */
const POLL_MS = 250

/** Resolves soon after something of a VM has changed (its directory gets a line in events.jsonl for each), or might have. */
export function awaitChange(layout: VmLayout, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    let watcher: FSWatcher | undefined
    const done = () => {
      clearTimeout(timer)
      watcher?.close()
      signal.removeEventListener("abort", done)
      resolve()
    }
    const timer = setTimeout(done, POLL_MS)
    signal.addEventListener("abort", done, { once: true })
    if (signal.aborted) return done()
    try {
      watcher = watch(layout.dir, { persistent: false }, (_event, name) => {
        if (name === "events.jsonl" || name === "lock") done()
      })
      watcher.on("error", () => {})
    } catch {
      // No watch to be had, or the directory is gone. The cadence does.
    }
  })
}
