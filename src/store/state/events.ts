import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { writeAll } from "../../base/linux/content.ts"
import { openAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"

/** One line of events.jsonl. */
export interface VmEvent {
  readonly event: string
  readonly [field: string]: unknown
}

/** Appends one event with its time (milliseconds since the epoch) to a VM's events.jsonl. */
export function appendEvent(path: string, event: VmEvent): void {
  const line = `${JSON.stringify({ time: Date.now(), ...event })}\n`
  withDescriptor(openAt(AT_FDCWD, path, O.WRONLY | O.CREAT | O.APPEND | O_NOFOLLOW, 0o600), (fd) =>
    writeAll(fd, new TextEncoder().encode(line)),
  )
}
