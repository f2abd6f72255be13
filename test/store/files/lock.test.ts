import { afterEach, beforeEach, expect, test } from "bun:test"
import { closeSync, openSync, readdirSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import { interpose } from "../../../src/base/linux/interpose.ts"
import { takeLock, takeNamedLock } from "../../../src/store/files/lock.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
let dir = -1
beforeEach(() => {
  dir = openSync(directory.path, "r")
})
afterEach(() => {
  interpose(undefined)
  closeSync(dir)
})

/** Runs `work` just before the first lock is taken, when its file is open already. */
function beforeLocking(work: () => void): void {
  interpose({
    before: (call) => {
      if (call !== "flock") return 0
      interpose(undefined)
      work()
      return 0
    },
  })
}

test("a lock is one's alone until its descriptor is closed", () => {
  const path = join(directory.path, "lock")
  const held = takeLock(path) ?? -1
  expect(takeLock(path)).toBeUndefined()
  expect(takeNamedLock(dir, "lock")).toBeUndefined()
  closeSync(held)
  closeSync(takeLock(path) ?? -1)
})

test.each<[string, (path: string) => void]>([
  ["was removed", (path) => rmSync(path)],
  ["got another name", (path) => renameSync(path, `${path}.old`)],
])("a lock whose file %s while it was opened is none: the next file of the name is taken", (_, change) => {
  beforeLocking(() => change(join(directory.path, "lock")))
  const held = takeNamedLock(dir, "lock") ?? -1
  expect(readdirSync(directory.path)).toContain("lock")
  // The one that has the name is the one that is held.
  expect(takeLock(join(directory.path, "lock"))).toBeUndefined()
  closeSync(held)
})
