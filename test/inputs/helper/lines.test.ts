import { expect, test } from "bun:test"
import { Failure } from "../../../src/base/terms/failure.ts"
import { messageCutter } from "../../../src/inputs/helper/lines.ts"

const BOUNDS = { depth: 4, members: 8 }
const cutter = (limit = 64) => messageCutter(limit, BOUNDS)
const shown = (said: readonly unknown[]) =>
  said.map((one) => (one instanceof Failure ? one.message : JSON.stringify(one)))

test("messages come whole, however their bytes fall", () => {
  const text = Buffer.from('{"a":"é😀"}\n{"b":1}\n{}\n')
  for (let size = 1; size <= text.length; size++) {
    const cut = cutter()
    const all: unknown[] = []
    for (let at = 0; at < text.length; at += size) all.push(...cut.cut(text.subarray(at, at + size)))
    expect(shown(all)).toEqual(['{"a":"é😀"}', '{"b":1}', "{}"])
    expect(cut.cutShort).toBe(false)
  }
})

test("the reader's memory may be used again", () => {
  const cut = cutter()
  const bytes = Buffer.from('{"a":')
  cut.cut(bytes)
  expect(cut.cutShort).toBe(true)
  bytes.fill(0)
  expect(shown(cut.cut(Buffer.from("1}\n")))).toEqual(['{"a":1}'])
})

test("after a line that is no message nothing comes", () => {
  const cut = cutter()
  expect(shown(cut.cut(Buffer.from('{"a":1}\nx\n{"b":1}\n')))).toEqual([
    '{"a":1}',
    expect.stringContaining("an object is expected"),
  ])
  expect(cut.cut(Buffer.from("{}\n"))).toEqual([])
  expect(cut.cutShort).toBe(false)
})

test("a line may have so many bytes and no more, whether its end comes or not", () => {
  const line = (length: number) => Buffer.from(`{"a":"${"x".repeat(length - 9)}"}\n`)
  expect(shown(cutter(64).cut(line(64)))).toHaveLength(1)
  expect(shown(cutter(64).cut(line(64)))[0]).toStartWith('{"a"')
  for (const bytes of [line(65), line(65).subarray(0, 65), Buffer.alloc(1_000_000, "x")])
    expect(shown(cutter(64).cut(bytes))).toEqual([expect.stringContaining("longer than 64 bytes")])
  const slowly = cutter(64)
  const said = Array.from({ length: 100 }, () => slowly.cut(Buffer.from("x"))).flat()
  expect(shown(said)).toEqual([expect.stringContaining("longer than 64 bytes")])
})

for (const [what, bytes, words] of [
  ["a NUL", Buffer.from('{"a":"\0"}\n'), "NUL"],
  ["half a character", Buffer.from([0x7b, 0x7d, 0xc3, 0x0a]), "UTF-8"],
  ["a surrogate's bytes", Buffer.from([0x7b, 0xed, 0xa0, 0x80, 0x7d, 0x0a]), "UTF-8"],
  ["too long a form", Buffer.from([0x7b, 0xc0, 0xaf, 0x7d, 0x0a]), "UTF-8"],
  ["a byte order mark", Buffer.from("\ufeff{}\n"), "an object is expected"],
  ["an empty line", Buffer.from("\n"), "an object is expected"],
] as const)
  test(`${what} is refused`, () => {
    expect(shown(cutter().cut(bytes))).toEqual([expect.stringContaining(words)])
  })
