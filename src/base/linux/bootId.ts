import { readFileSync } from "node:fs"

let known: string | undefined

/** The id of this boot of the host (random(4)): when it differs from a record's, nothing on that record is alive. */
export function bootId(): string {
  // It does not change while this process lives.
  known ??= readFileSync("/proc/sys/kernel/random/boot_id", "ascii").trim()
  return known
}
