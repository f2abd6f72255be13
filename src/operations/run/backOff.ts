import type { Database } from "bun:sqlite"
import type { Log } from "../../base/terms/log.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { noteRestart } from "../../store/state/notes.ts"
import type { PluginHost } from "../../supervisor/hooks/pluginHost.ts"

/** The wait before a VM is booted again. */
export interface BackOff {
  readonly waitMs: number
  /** Why its last boot has ended. */
  readonly why: string
  readonly log: Log
}

/**
 * Waits until a VM that has ended is to be booted again. The caller keeps it locked all the while, so that `banger stop`
 * finds whom to tell. Returns false, with the note on its record taken back, when this process was told to stop meanwhile.
 */
export async function backOff(
  { interrupts, service }: PluginHost,
  { db, id }: { readonly db: Database; readonly id: string },
  { waitMs, why, log }: BackOff,
): Promise<boolean> {
  const words = `${why}; booting it again in ${formatDuration(waitMs)}`
  log.warn(words)
  service?.status(words)
  noteRestart(db, id, Date.now() + waitMs)
  await waited(waitMs, interrupts.stop)
  if (!interrupts.stop.aborted) return true
  noteRestart(db, id, null)
  return false
}

// --- internal ---

async function waited(ms: number, stop: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  stop.addEventListener("abort", () => resolve(), { once: true })
  await promise
  clearTimeout(timer)
}
