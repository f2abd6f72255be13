import { closeSync, constants, openSync, writeSync } from "node:fs"
import { join } from "node:path"
import type { Place } from "../../system/support/place.ts"

/** Sends a guest words, which it says back; returns how many bytes it takes now. */
export function tell(place: Place, id: string, text: string): number {
  const fd = openSync(join(place.runtime, id, "console.in"), constants.O_RDWR | constants.O_NONBLOCK)
  try {
    return writeSync(fd, text)
  } catch {
    // It has not read what came before.
    return 0
  } finally {
    closeSync(fd)
  }
}
