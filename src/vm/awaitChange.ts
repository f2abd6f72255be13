import { changesOf } from "../store/files/watch.ts"
import type { VmLayout } from "../store/state/places.ts"

/** How often to look in any case, in milliseconds: not all that happens to a VM changes a file of its directory. */
const POLL_MS = 250

/**
 * Resolves soon after something of a VM has changed, or may have: its record (each change is a line in events.jsonl) or
 * its lock. Resolves also when the signal is aborted; never rejects.
 */
export async function awaitChange(layout: VmLayout, signal: AbortSignal): Promise<void> {
  using changes = changesOf(layout.dir, { pollMs: POLL_MS, names: ["events.jsonl", "lock"] })
  await changes.next(signal)
}
