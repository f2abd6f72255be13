import { expect, test } from "bun:test"
import { openDatabase } from "../../../src/store/state/database.ts"
import { changeState, deleteRecord, insertRecord } from "../../../src/store/state/records.ts"
import { claimRestore, noteRestored } from "../../../src/store/state/restores.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const opened = () => {
  const db = openDatabase(directory.path)
  const add = (id: string) =>
    insertRecord(db, {
      ...{
        id,
        name: id,
        vmm: "firecracker",
        boot_id: "b",
        plugin_path: "/p",
        plugin_sha256: "s",
        spec: "{}",
        request: "{}",
      },
    })
  const claim = (vm: string, again = false) => claimRestore(db, { snapshot: "s", vm, name: vm, again })
  return { db, add, claim }
}

test("a snapshot that a VM has claimed is another's only once that has ended before its guest ran", () => {
  const { db, add, claim } = opened()
  for (const id of ["a", "b"]) add(id)
  expect(claim("a")).toBeUndefined()
  expect(claim("b")).toMatchObject({ vm: "a", name: "a", ran_at: null })
  expect(claimRestore(db, { snapshot: "other", vm: "b", name: "b", again: false })).toBeUndefined()
  changeState(db, "a", { to: "failed" })
  add("c")
  expect(claim("c")).toBeUndefined()
})

test("once its guest has run it counts for good, whatever becomes of the VM and its record", () => {
  const { db, add, claim } = opened()
  for (const id of ["a", "b"]) add(id)
  claim("a")
  noteRestored(db, "a")
  changeState(db, "a", { to: "failed" })
  expect(claim("b")?.ran_at).toBeNumber()
  deleteRecord(db, "a")
  db.close()
  const later = openDatabase(directory.path)
  expect(claimRestore(later, { snapshot: "s", vm: "b", name: "b", again: false })).toMatchObject({ vm: "a" })
})

test("clones are allowed where they are asked for, and count as one restore", () => {
  const { db, add, claim } = opened()
  for (const id of ["a", "b", "c", "d"]) {
    add(id)
    expect(claim(id, true)).toBeUndefined()
    if (id !== "d") noteRestored(db, id)
  }
  expect(db.query("select vm from restores order by vm").values()).toEqual([["a"], ["d"]])
  add("e")
  expect(claim("e")).toMatchObject({ vm: "a" })
})

test("of several processes that claim it at once, one has it", async () => {
  const { db, add } = opened()
  const ids = Array.from({ length: 8 }, (_, index) => `vm-${index}`)
  for (const id of ids) add(id)
  const module = new URL("../../../src/store/state/", import.meta.url).pathname
  const program = `
    const { openDatabase } = await import("${module}database.ts")
    const { claimRestore } = await import("${module}restores.ts")
    const vm = process.argv[1]
    console.log(claimRestore(openDatabase("${directory.path}"), { snapshot: "s", vm, name: vm, again: false }) === undefined)`
  const said = ids.map((id) => new Response(Bun.spawn([process.execPath, "-e", program, id]).stdout).text())
  expect((await Promise.all(said)).filter((word) => word.trim() === "true")).toHaveLength(1)
  expect(db.query("select count(*) as n from restores").get()).toEqual({ n: 1 })
})
