import { expect, test } from "bun:test"
import { bootTimeMs, fileAgeMs } from "../../../src/base/linux/clock.ts"
import { ranMs } from "../../../src/host/process/identity.ts"

const HOUR_MS = 3_600_000

function age(madeMs: number, clock: { nowMs: number; bootMs: number }): number {
  return fileAgeMs({ ctimeMs: madeMs, btimeMs: madeMs - HOUR_MS }, clock)
}

test("a file's age is the time since it last changed; one from the future is young", () => {
  expect(age(1000, { nowMs: 6000, bootMs: HOUR_MS })).toBe(5000)
  expect(age(9000, { nowMs: 6000, bootMs: HOUR_MS })).toBe(-3000)
})

test("no age is longer than the boot: a host that booted in 1970 and was set right makes nothing old", () => {
  const now = Date.UTC(2026, 0, 1)
  expect(age(20_000, { nowMs: now, bootMs: 60_000 })).toBe(60_000)
  // From before the boot, by a clock that may have been wrong: as old as the boot at most.
  expect(age(now - 30 * 24 * HOUR_MS, { nowMs: now, bootMs: 5000 })).toBe(5000)
  expect(fileAgeMs({ ctimeMs: 0, btimeMs: 0 })).toBeLessThanOrEqual(bootTimeMs())
})

test("how long a process has run is counted from its start, in ticks, and is never less than nothing", () => {
  expect(ranMs(200, 7000)).toBe(5000)
  expect(ranMs(800, 7000)).toBe(0)
})
