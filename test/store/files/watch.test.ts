import { expect, test } from "bun:test"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { changesOf, watchPath } from "../../../src/store/files/watch.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const never = new AbortController().signal

/** Longer than any test may wait: what comes earlier did not come of looking again. */
const HOUR_MS = 3_600_000

/** The kernel tells of it well within this time, in milliseconds. */
const SOON_MS = 200

test("a new name in a directory wakes who waits, at once", async () => {
  using changes = changesOf(directory.path, { pollMs: HOUR_MS })
  const woken = changes.next(never)
  writeFileSync(join(directory.path, "new"), "")
  await woken
})

test("a change before it is waited for is not lost", async () => {
  using changes = changesOf(directory.path, { pollMs: HOUR_MS })
  writeFileSync(join(directory.path, "new"), "")
  await Bun.sleep(SOON_MS)
  await changes.next(never)
})

test("only the names that were asked for count", async () => {
  let count = 0
  using _ = watchPath(directory.path, () => count++, { pollMs: HOUR_MS, names: ["lock"] })
  writeFileSync(join(directory.path, "other"), "")
  await Bun.sleep(SOON_MS)
  expect(count).toBe(0)
  writeFileSync(join(directory.path, "lock"), "")
  await Bun.sleep(SOON_MS)
  expect(count).toBeGreaterThan(0)
})

test("what cannot be watched is looked at from time to time", async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  using _ = watchPath(join(directory.path, "none"), resolve, { pollMs: 5 })
  // The watch itself keeps no process alive.
  await Promise.race([promise, Bun.sleep(5000).then(() => Promise.reject(new Error("it was not looked at")))])
})

test("where the kernel tells of nothing, who waits is woken all the same", async () => {
  using changes = changesOf(directory.path, { pollMs: 5 })
  await changes.next(never)
  await changes.next(never)
})

test("an abort wakes who waits, and who comes later", async () => {
  using changes = changesOf(directory.path, { pollMs: HOUR_MS })
  const aborted = new AbortController()
  const woken = changes.next(aborted.signal)
  aborted.abort()
  await woken
  await changes.next(aborted.signal)
})

test("nothing is told any more of a watch that was disposed", async () => {
  let count = 0
  mkdirSync(join(directory.path, "dir"))
  const watcher = watchPath(join(directory.path, "dir"), () => count++, { pollMs: 5, always: true })
  writeFileSync(join(directory.path, "dir", "new"), "")
  watcher[Symbol.dispose]()
  await Bun.sleep(SOON_MS)
  expect(count).toBe(0)
})
