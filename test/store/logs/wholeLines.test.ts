import { expect, test } from "bun:test"
import { wholeLines } from "../../../src/store/logs/wholeLines.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

/** What is shown of pieces, each by itself, and at the end. */
function shownOf(...pieces: readonly Uint8Array[]): readonly string[] {
  const shown: string[] = []
  const lines = wholeLines((chunk) => shown.push(Buffer.from(chunk).toString("latin1")) > 0)
  for (const piece of pieces) lines.write(piece)
  lines.end()
  lines.end()
  return shown
}

test("only whole lines are shown, as they were written; the last one is ended", () => {
  expect(shownOf(bytes("a"), bytes("b\nc\r\nd"), bytes("e\n"))).toEqual(["ab\nc\r\n", "de\n"])
  expect(shownOf(bytes("a\nb"))).toEqual(["a\n", "b\n"])
  expect(shownOf(bytes("\n"), bytes(""))).toEqual(["\n"])
  expect(shownOf()).toEqual([])
  expect(shownOf(Uint8Array.of(0xff, 0x0a))).toEqual(["\xff\n"])
})

test("a line without end does not fill the memory", () => {
  const piece = bytes("x".repeat(40_000))
  expect(shownOf(piece, piece, bytes("y")).map((text) => text.length)).toEqual([80_000, 2])
})

test("who reads no more is told", () => {
  const lines = wholeLines(() => false)
  expect([lines.write(bytes("a")), lines.write(bytes("\n"))]).toEqual([true, false])
})
