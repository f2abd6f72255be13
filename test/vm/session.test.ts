import { expect, test } from "bun:test"
import { closeSync, existsSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import { takeLock } from "../../src/store/files/lock.ts"
import { openDatabase } from "../../src/store/state/database.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { listRecords } from "../../src/store/state/records.ts"
import { createSession } from "../../src/vm/session.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const vm = {
  id: "vm-1",
  name: "vm",
  vmm: "qemu",
  plugin: { path: "/p.ts", sha256: "s" },
  spec: { kernel: "/k", name: "vm" },
}

function place() {
  const where = { state: directory.path, runtime: join(directory.path, "run") }
  return { db: openDatabase(directory.path), where }
}

test("a VM that is made has its lock", () => {
  const state = place()
  const { layout } = createSession(state, vm)
  expect(takeLock(layout.lock)).toBeUndefined()
  expect(listRecords(state.db).map(({ id }) => id)).toEqual(["vm-1"])
})

test("a VM whose lock another process has is not made", () => {
  const state = place()
  const layout = vmLayout(state.where, "vm-1")
  mkdirSync(layout.dir, { recursive: true })
  const held = takeLock(layout.lock) ?? -1
  expect(() => createSession(state, vm)).toThrow(`another process has locked ${layout.lock}`)
  expect(listRecords(state.db)).toEqual([])
  expect(existsSync(layout.dir)).toBe(false)
  closeSync(held)
})
