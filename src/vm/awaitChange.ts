import { type Changes, changesOf } from "../store/files/watch.ts"
import type { VmLayout } from "../store/state/places.ts"

/** How often to look in any case, in milliseconds: not all that happens to a VM changes a file of its directory. */
const POLL_MS = 250

/**
 * Resolves soon after something of a VM has changed, or may have: its record (each change is a line in events.jsonl) or
 * its lock. Resolves also when the signal is aborted; never rejects.
 */
export async function awaitChange(layout: VmLayout, signal: AbortSignal): Promise<void> {
  using changes = changesOfVm(layout)
  await changes.next(signal)
}

/** As `awaitChange`, for whoever waits for many changes, one after the other, and looks every `pollMs` in any case. */
export function changesOfVm(layout: VmLayout, pollMs = POLL_MS): Changes {
  return changesOf(layout.dir, { pollMs, names: ["events.jsonl", "lock"] })
}
