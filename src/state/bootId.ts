import { readFileSync } from "node:fs"

/** The id of this boot of the host (random(4)): when it differs from a record's, nothing on that record is alive. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "ascii").trim()
}
