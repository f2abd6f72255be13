import { expect, test } from "bun:test"
import { closeSync, existsSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import { createSession } from "../../src/lifecycle/session.ts"
import { parseSpec } from "../../src/plugin/definition.ts"
import { openDatabase } from "../../src/state/database.ts"
import { takeLock } from "../../src/state/lock.ts"
import { vmLayout } from "../../src/state/places.ts"
import { listRecords } from "../../src/state/records.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const source = { path: "/p.ts", text: "" }
const prepared = {
  loaded: { source, sha256: "s", spec: {}, hooks: [], uses: [] },
  spec: { ...parseSpec({ kernel: "/k" }, source), name: "vm" },
  written: { kernel: "/k", name: "vm" },
}

function place() {
  const where = { state: directory.path, runtime: join(directory.path, "run") }
  return { db: openDatabase(directory.path), where }
}

test("a VM that is made has its lock", () => {
  const state = place()
  const { layout } = createSession(prepared, "qemu", "vm-1", state)
  expect(takeLock(layout.lock)).toBeUndefined()
  expect(listRecords(state.db).map(({ id }) => id)).toEqual(["vm-1"])
})

test("a VM whose lock another process has is not made", () => {
  const state = place()
  const layout = vmLayout(state.where, "vm-1")
  mkdirSync(layout.dir, { recursive: true })
  const held = takeLock(layout.lock) ?? -1
  expect(() => createSession(prepared, "qemu", "vm-1", state)).toThrow(`another process holds ${layout.lock}`)
  expect(listRecords(state.db)).toEqual([])
  expect(existsSync(layout.dir)).toBe(false)
  closeSync(held)
})
