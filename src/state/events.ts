import { appendFileSync } from "node:fs"

/** One line of events.jsonl. */
export interface VmEvent {
  readonly event: string
  readonly [field: string]: unknown
}

/** Appends one event with its time (milliseconds since the epoch) to a VM's events.jsonl. */
export function appendEvent(path: string, event: VmEvent): void {
  appendFileSync(path, `${JSON.stringify({ time: Date.now(), ...event })}\n`, { mode: 0o600 })
}
