import { expect, test } from "bun:test"
import { claimDisks, freeClaim, listHolders, requireUnclaimed } from "../../../src/store/disks/claims.ts"
import { openDatabase } from "../../../src/store/state/database.ts"
import { changeState, deleteRecord, insertRecord, mirrorJournal } from "../../../src/store/state/records.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

const opened = () => {
  const db = openDatabase(directory.path)
  const add = (id: string) => {
    const record = {
      vmm: "firecracker",
      boot_id: "b",
      plugin_path: "/p",
      plugin_sha256: "s",
      spec: "{}",
      request: "{}",
    }
    insertRecord(db, { ...record, id, name: `name-${id}` })
  }
  for (const id of ["a", "b"]) add(id)
  return db
}
const holders = (db: ReturnType<typeof opened>) => listHolders(db).map(({ disk, id }) => [disk, id])

test("a disk is one VM's, and whoever else wants it is told which one's", () => {
  const db = opened()
  claimDisks(db, "a", ["one", "two"])
  expect(() => claimDisks(db, "b", ["three", "two"])).toThrow(
    failure("IN_USE", "the disk two is in use by VM a (name-a, creating)"),
  )
  // All of them, or none.
  expect(holders(db)).toEqual([
    ["one", "a"],
    ["two", "a"],
  ])
  claimDisks(db, "a", ["one"])
  expect(() => requireUnclaimed(db, ["one"])).toThrow(failure("IN_USE", "the disk one"))
  requireUnclaimed(db, ["one"], "a")
  requireUnclaimed(db, ["three"])
})

test("a claim counts until its VM has ended and holds nothing, or is gone", () => {
  const db = opened()
  claimDisks(db, "a", ["one"])
  mirrorJournal(db, "a", { generation: 1, journal: [{ kind: "disk", name: "one" }] })
  changeState(db, "a", { to: "failed" })
  // A failed start that is kept, or what could not be released.
  expect(() => claimDisks(db, "b", ["one"])).toThrow(failure("IN_USE", "(name-a, failed)"))
  mirrorJournal(db, "a", { generation: 2, journal: [] })
  expect(holders(db)).toEqual([])
  claimDisks(db, "b", ["one"])
  expect(holders(db)).toEqual([["one", "b"]])
  deleteRecord(db, "b")
  expect(holders(db)).toEqual([])
})

test("a claim is given back once, by the VM that has it; what comes before it fails leaves it", () => {
  const db = opened()
  claimDisks(db, "a", ["one"])
  let done = 0
  const work = () => void done++
  expect(() =>
    freeClaim(db, { disk: "one", vm: "a" }, () => {
      throw new Error("no")
    }),
  ).toThrow("no")
  expect(holders(db)).toEqual([["one", "a"]])
  freeClaim(db, { disk: "one", vm: "b" }, work)
  expect({ done, held: holders(db) }).toEqual({ done: 0, held: [["one", "a"]] })
  // A loss of power may have taken the row: the file is still to be given back.
  for (let round = 0; round < 2; round++) freeClaim(db, { disk: "one", vm: "a" }, work)
  expect({ done, held: holders(db) }).toEqual({ done: 2, held: [] })
})
