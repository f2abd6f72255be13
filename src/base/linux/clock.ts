import { fixed, word } from "./guards.ts"
import { checked, libc } from "./libc.ts"

/**
 * Milliseconds of this boot in which the host was not suspended (clock_gettime(2), CLOCK_MONOTONIC): all processes of a time
 * namespace see the same, timers of the event loop go by it, and nobody can set it.
 */
export function monotonicMs(): number {
  return read(CLOCK_MONOTONIC)
}

/** Milliseconds of this boot, as start times of processes are counted (CLOCK_BOOTTIME). */
export function bootTimeMs(): number {
  return read(CLOCK_BOOTTIME)
}

/**
 * Milliseconds since a file was made or its inode last changed; negative where that is in the future. At most as long as this boot:
 * what was made before it, or before the clock was set, has an age that nothing proves. Pure when all is given.
 */
export function fileAgeMs(
  { ctimeMs, btimeMs }: { readonly ctimeMs: number; readonly btimeMs: number },
  { nowMs = Date.now(), bootMs = bootTimeMs() }: { readonly nowMs?: number; readonly bootMs?: number } = {},
): number {
  return Math.min(nowMs - Math.max(ctimeMs, btimeMs), bootMs)
}

// --- internal ---

const CLOCK_MONOTONIC = 1
const CLOCK_BOOTTIME = 7

function read(clock: number): number {
  const time = fixed(16)
  checked("clock_gettime", () => libc.clock_gettime(word("clock", clock), time))
  const view = new DataView(time.buffer)
  return Number(view.getBigInt64(0, true)) * 1000 + Number(view.getBigInt64(8, true)) / 1e6
}
