import { expect, test } from "bun:test"
import { announcedBy } from "../../../src/host/qemu/announced.ts"

const line = (reason: unknown, event = "SHUTDOWN") => JSON.stringify({ event, data: { guest: true, reason } })

test("of QEMU's lines only a shutdown tells a reason, and only a word", () => {
  expect(announcedBy(line("guest-shutdown"))).toBe("guest-shutdown")
  for (const other of [
    line("guest-shutdown", "STOP"),
    line("--x"),
    line(3),
    line("a b"),
    "SHUTDOWN",
    "null SHUTDOWN",
    "{}",
    "",
  ])
    expect(announcedBy(other)).toBeUndefined()
})
