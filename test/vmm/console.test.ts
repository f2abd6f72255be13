import { expect, test } from "bun:test"
import { appendFileSync, existsSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { follow, tailOf } from "../../src/vmm/console.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

function followed(limit: number, take = (chunk: Uint8Array) => chunk.length) {
  const path = join(directory.path, "console.log")
  writeFileSync(path, "")
  const shown: Uint8Array[] = []
  const follower = follow(path, limit, (chunk) => {
    const taken = take(chunk)
    shown.push(chunk.slice(0, taken))
    return taken
  })
  return { path, follower, text: () => Buffer.concat(shown).toString() }
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

test("the file and its older half stay below the limit, and nothing is shown twice or lost", () => {
  const { path, follower, text } = followed(10_000)
  let written = ""
  for (let i = 0; i < 3000; i++) {
    const line = `line ${i}\n`
    written += line
    appendFileSync(path, line)
    if (i % 7 === 0) follower.drain()
  }
  expect(follower.drain()).toBe(true)
  expect(text()).toBe(written)
  expect(statSync(path).size + statSync(`${path}.old`).size).toBeLessThan(10_000 + 100)
  expect(`${tailOf(`${path}.old`, 10_000)}${tailOf(path, 10_000)}`).toBe(
    written.slice(-(statSync(path).size + statSync(`${path}.old`).size)),
  )
  expect(existsSync(`${path}.old.tmp`)).toBe(false)
  follower.close()
})

test("a reader that takes nothing holds up neither the follower nor the limit", () => {
  let takes = false
  const { path, follower, text } = followed(10_000, (chunk) => (takes ? chunk.length : 0))
  appendFileSync(path, "x".repeat(4000))
  expect(follower.drain()).toBe(false)
  appendFileSync(path, "y".repeat(4000))
  follower.drain()
  expect(statSync(path).size).toBe(0)
  appendFileSync(path, "end")
  takes = true
  expect(follower.drain()).toBe(true)
  expect(text()).toBe("end")
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
