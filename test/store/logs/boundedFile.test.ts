import { expect, test } from "bun:test"
import { appendFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { follow } from "../../../src/store/logs/boundedFile.ts"
import { tailOf } from "../../../src/store/logs/growing.ts"
import { openShown } from "../../../src/store/logs/shown.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

function followed(limit: number, take = (chunk: Uint8Array) => chunk.length) {
  const path = join(directory.path, "console.log")
  writeFileSync(path, "")
  const shown: Uint8Array[] = []
  const troubles: string[] = []
  const sink = (chunk: Uint8Array) => {
    const taken = take(chunk)
    shown.push(chunk.slice(0, taken))
    return taken
  }
  const follower = follow(path, { limitBytes: limit, sink, onTrouble: (what) => troubles.push(what) })
  return { path, follower, troubles, text: () => Buffer.concat(shown).toString() }
}

test("what a VMM appends is shown as it comes", async () => {
  const { path, follower, text } = followed(1024 * 1024)
  const seen = Promise.withResolvers<void>()
  appendFileSync(path, "one\n")
  const timer = setInterval(() => text() === "one\ntwo\n" && seen.resolve(), 1)
  appendFileSync(path, "two\n")
  await seen.promise
  clearInterval(timer)
  follower.close()
})

test("the file is kept below its limit, and nothing is shown twice or lost", () => {
  const { path, follower, troubles, text } = followed(20_000)
  let written = ""
  for (let i = 0; i < 6000; i++) {
    const line = `line ${i}\n`
    written += line
    appendFileSync(path, line)
    if (i % 7 === 0) follower.drain()
    if (i % 1000 === 999) expect(statSync(path).blocks * 512).toBeLessThanOrEqual(20_000 + 2 * 4096)
  }
  expect(follower.drain()).toBe(true)
  expect(text()).toBe(written)
  const tail = tailOf(path, written.length)
  expect(tail.length).toBeGreaterThan(9_000)
  expect(written.endsWith(tail)).toBe(true)
  follower.settle()
  expect(readFileSync(path, "utf8")).toBe(tail)
  expect(readdirSync(directory.path)).toEqual(["console.log"])
  expect(troubles).toEqual([])
  follower.close()
})

test("what is written while the file is made smaller is not lost", async () => {
  const { path, follower, text } = followed(64 * 1024)
  const lines = 200_000
  const writer = Bun.spawn(["sh", "-c", `exec seq 1 ${lines} >> ${path}`])
  while (writer.exitCode === null) {
    follower.drain()
    await new Promise(setImmediate)
  }
  expect(follower.drain()).toBe(true)
  expect(text()).toBe(Array.from({ length: lines }, (_, index) => `${index + 1}\n`).join(""))
  follower.close()
})

test("a reader that takes nothing holds up neither the follower nor the limit", () => {
  let takes = false
  const { path, follower, text } = followed(20_000, (chunk) => (takes ? chunk.length : 0))
  appendFileSync(path, "x".repeat(16_000))
  expect(follower.drain()).toBe(false)
  appendFileSync(path, "y".repeat(16_000))
  expect(follower.drain()).toBe(false)
  expect(tailOf(path, 40_000).length).toBeLessThan(20_000)
  follower.settle()
  takes = true
  expect(follower.drain()).toBe(true)
  expect(text()).toBe(readFileSync(path, "utf8"))
  expect(text()).toMatch(/^y{10000,}$/)
  follower.close()
})

test("a sink that fails is told of once, and neither it nor a full disk is ever thrown", () => {
  const { path, follower, troubles } = followed(20_000, () => {
    throw new Error("no space")
  })
  for (let i = 0; i < 10; i++) {
    appendFileSync(path, "x".repeat(8000))
    expect(follower.drain()).toBe(true)
  }
  expect(troubles).toEqual(["it is no longer shown: no space"])
  expect(tailOf(path, 80_000).length).toBeLessThan(20_000)
  mkdirSync(join(dirname(path), `.${basename(path)}.${process.pid}.tmp`))
  follower.settle()
  expect(troubles[1]).toMatch(/it could not be made smaller: .*EISDIR/)
  follower.close()
})

test("the tail of a file is its last bytes, and that of none is empty", () => {
  const path = join(directory.path, "file")
  writeFileSync(path, "0123456789")
  expect([tailOf(path, 4), tailOf(path, 100), tailOf(join(directory.path, "none"), 4)]).toEqual([
    "6789",
    "0123456789",
    "",
  ])
})

test("where it is noted how far a file was shown, it is shown in whole lines, and the next one goes on there", () => {
  const [path, noted] = [join(directory.path, "noted.log"), join(directory.path, "noted.shown")]
  const seen: string[] = []
  let most = Number.POSITIVE_INFINITY
  const sink = (chunk: Uint8Array) => {
    const taken = chunk.subarray(0, most)
    seen.push(Buffer.from(taken).toString())
    return taken.length
  }
  const options = () => ({
    limitBytes: 1 << 20,
    sink,
    shown: openShown(noted),
    onTrouble: (what: string) => seen.push(what),
  })
  writeFileSync(path, "one\ntw")
  const first = follow(path, options())
  expect(first.drain()).toBe(true)
  appendFileSync(path, "o\nthr")
  most = 2
  expect(first.drain()).toBe(false)
  first.close()
  most = Number.POSITIVE_INFINITY
  appendFileSync(path, "ee\nrest")
  const next = follow(path, options())
  expect(next.drain()).toBe(true)
  next.settle()
  expect(next.drain()).toBe(true)
  next.close()
  expect(seen).toEqual(["one\n", "tw", "o\nthree\n", "rest"])
  writeFileSync(noted, "torn")
  expect(openShown(noted)?.before).toBeUndefined()
  expect(openShown(noted)?.before).toBe(0)
})
