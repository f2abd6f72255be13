import { expect, test } from "bun:test"
import { chmodSync, mkdirSync, symlinkSync } from "node:fs"
import { join } from "node:path"
import { close } from "../../../src/base/linux/files.ts"
import { pinDirectory } from "../../../src/store/files/pinDirectory.ts"
import { openDatabase } from "../../../src/store/state/database.ts"
import { freeUid, takeUid, UID_RANGE } from "../../../src/store/state/uids.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("each VM has a uid of its own until it gives it back", () => {
  const db = openDatabase(directory.path)
  const range = { first: 100, count: 3 }
  const taken = ["a", "b", "c"].map((vm) => takeUid(db, vm, { range }))
  expect(taken.toSorted()).toEqual([100, 101, 102])
  expect(() => takeUid(db, "d", { range })).toThrow(failure("IN_USE", "all 3 uids from 100 on are in use"))
  expect(() => takeUid(db, "d", { wanted: 101 })).toThrow(failure("IN_USE", "uid 101 is in use by the VM"))
  freeUid(db, "b")
  freeUid(db, "b")
  expect(takeUid(db, "d", { range })).toBe(taken[1] ?? 0)
  expect(takeUid(db, "e", { wanted: 55 })).toBe(55)
  expect(takeUid(db, "e", { wanted: 56 })).toBe(56)
  expect(takeUid(db, "f", { wanted: 55 })).toBe(55)
  expect(takeUid(db, "g")).toBeGreaterThanOrEqual(UID_RANGE.first)
})

test("a directory is pinned only where nobody else can change what its path leads to", () => {
  const dir = join(directory.path, "a/b")
  mkdirSync(dir, { recursive: true, mode: 0o755 })
  close(pinDirectory(dir))
  close(pinDirectory("/"))
  chmodSync(join(directory.path, "a"), 0o775)
  expect(() => pinDirectory(dir)).toThrow(failure("UNTRUSTED", `${directory.path}/a can be written by others`))
  // As /tmp is: crossed, not used.
  chmodSync(join(directory.path, "a"), 0o1777)
  close(pinDirectory(dir))
  expect(() => pinDirectory(join(directory.path, "a"))).toThrow(failure("UNTRUSTED", "can be written by others"))
  symlinkSync(dir, join(directory.path, "link"))
  expect(() => pinDirectory(join(directory.path, "link"))).toThrow(failure("UNTRUSTED", "link is a symlink"))
  expect(() => pinDirectory(join(dir, "missing"))).toThrow("ENOENT")
})
