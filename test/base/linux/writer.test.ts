import { expect, test } from "bun:test"
import { constants, openSync, readFileSync, readSync } from "node:fs"
import { join } from "node:path"
import { rawSyscall } from "../../../src/base/linux/libc.ts"
import { writeFor, writerTo, writeSome } from "../../../src/base/linux/writer.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const SOCKETPAIR = process.arch === "arm64" ? 199 : 53

/** Descriptors that would wait for a reader: one to write to, one to read from. */
const STALLING: readonly (readonly [string, () => { to: number; from: number }])[] = [
  [
    "pipe",
    () => {
      const path = join(directory.path, "fifo")
      Bun.spawnSync(["mkfifo", path])
      const from = openSync(path, constants.O_RDWR)
      return { from, to: openSync(path, "w") }
    },
  ],
  [
    "socket",
    () => {
      const pair = new Int32Array(2)
      rawSyscall("socketpair", SOCKETPAIR, [1, 1, 0, new Uint8Array(pair.buffer)])
      return { to: pair[0] ?? -1, from: pair[1] ?? -1 }
    },
  ],
]

test.each(STALLING)("a %s takes what fits, and more when it was read, without any waiting", (_, make) => {
  const { to, from } = make()
  const write = writerTo(to)
  const bytes = new Uint8Array(4 * 1024 * 1024)
  const first = writeSome(write, bytes)
  expect(first).toBeGreaterThan(0)
  expect(first).toBeLessThan(bytes.length)
  expect([write(bytes), writeFor(to, bytes, { write, patienceMs: 1 })]).toEqual([0, 0])
  const read = readSync(from, new Uint8Array(first), 0, first, null)
  expect(read).toBeGreaterThan(0)
  expect(writeFor(to, bytes.subarray(0, 1), { write, patienceMs: 1000 })).toBe(1)
})

test("a file takes all, where the descriptor stands", () => {
  const path = join(directory.path, "file")
  const fd = openSync(path, "a")
  expect(writeSome(writerTo(fd), new TextEncoder().encode("one\n"))).toBe(4)
  expect(writeSome(writerTo(fd), new TextEncoder().encode("two\n"))).toBe(4)
  expect(readFileSync(path, "utf8")).toBe("one\ntwo\n")
})

test("what cannot be written is an error of its own", () => {
  expect(() => writerTo(openSync("/dev/full", "w"))(new Uint8Array(1))).toThrow("ENOSPC")
})
