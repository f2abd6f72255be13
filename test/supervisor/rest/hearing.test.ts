import { expect, test } from "bun:test"
import { hearing } from "../../../src/supervisor/rest/hearing.ts"

const SHUTDOWN = '{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}\n'

/** Reads these texts, one at a time, and then `after`. */
function reading(texts: readonly string[], after: number | undefined) {
  const left = [...texts]
  return (_fd: number, buffer: Uint8Array) => {
    const text = left.shift()
    return text === undefined ? after : new TextEncoder().encodeInto(text, buffer).written
  }
}

test("the reason of an end is heard, in however many pieces it comes", () => {
  const heard = hearing(3, reading(['{"event": "STOP"}\n', SHUTDOWN.slice(0, 20), SHUTDOWN.slice(20)], undefined))
  heard.take()
  expect(heard).toMatchObject({ fd: 3, announced: "guest-reset" })
})

test("one that has ended, or talks on in one line, is heard no more", () => {
  const ended = hearing(3, reading([SHUTDOWN], 0))
  ended.take()
  expect(ended).toMatchObject({ fd: undefined, announced: "guest-reset" })
  const line = hearing(3, (_fd, buffer) => buffer.fill(120).length)
  for (let taken = 0; taken < 3; taken++) line.take()
  expect(line).toMatchObject({ fd: undefined, announced: undefined })
})

test("one that talks without end is left for a look at other news, and heard on", () => {
  let reads = 0
  const heard = hearing(3, (_fd, buffer) => {
    if (++reads > 100_000) throw new Error("it hears nothing else")
    return buffer.fill(10, 0, 100).subarray(0, 100).length
  })
  heard.take()
  expect(heard.fd).toBe(3)
  // More than a socket holds.
  expect(reads * 16 * 1024).toBeGreaterThanOrEqual(1024 * 1024)
})
