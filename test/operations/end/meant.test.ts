import { expect, test } from "bun:test"
import { removeVm } from "../../../src/operations/end/remove.ts"
import { meantBy, stopVm } from "../../../src/operations/end/stop.ts"
import { openDatabase } from "../../../src/store/state/database.ts"
import { changeState, deleteRecord, findById, insertRecord } from "../../../src/store/state/records.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const log = { debug() {}, info() {}, warn() {}, error() {} }

function stateWith(id: string) {
  const where = { state: directory.path, runtime: directory.path }
  const state = { where, db: openDatabase(directory.path) }
  const run = (id: string) =>
    insertRecord(state.db, {
      ...{ id, name: "web", vmm: "qemu", boot_id: "b", plugin_path: "/p", plugin_sha256: "s" },
      ...{ spec: "{}", request: "{}" },
    })
  run(id)
  return { ...state, run }
}

test("a VM that has taken the name of one that was meant is let alone", async () => {
  const state = stateWith("web-1")
  const meant = meantBy(state, "web")
  changeState(state.db, "web-1", { to: "failed" })
  state.run("web-2")
  expect(await stopVm(state, meant, { action: "stop", log })).toMatchObject({ id: "web-1", state: "failed" })
  expect(await removeVm(state, meant, { force: true, log })).toMatchObject({ id: "web-1" })
  expect(findById(state.db, "web-1")).toBeUndefined()
  expect(findById(state.db, "web-2")).toMatchObject({ state: "creating" })
})

test("one that is gone by its turn is what was asked for", async () => {
  const state = stateWith("web-1")
  const meant = meantBy(state, "web-1")
  deleteRecord(state.db, "web-1")
  expect(await stopVm(state, meant, { action: "kill", log })).toMatchObject({ id: "web-1" })
  expect(await removeVm(state, meant, { force: false, log })).toMatchObject({ id: "web-1" })
})
