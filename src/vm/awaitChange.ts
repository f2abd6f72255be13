import { changesOf } from "../store/files/watch.ts"
import type { VmLayout } from "../store/state/places.ts"

/** Not all that happens to a VM changes a file of its directory; it is looked at this often, in milliseconds. */
const POLL_MS = 250

/** Resolves soon after something of a VM has changed (its directory gets a line in events.jsonl for each), or might have. */
export async function awaitChange(layout: VmLayout, signal: AbortSignal): Promise<void> {
  using changes = changesOf(layout.dir, { pollMs: POLL_MS, names: ["events.jsonl", "lock"] })
  await changes.next(signal)
}
