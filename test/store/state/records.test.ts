import { Database } from "bun:sqlite"
import { expect, test } from "bun:test"
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { openDatabase } from "../../../src/store/state/database.ts"
import { noteKept } from "../../../src/store/state/notes.ts"
import {
  changeState,
  deleteRecord,
  findRecord,
  getRecord,
  insertRecord,
  listRecords,
  mirrored,
  mirrorJournal,
} from "../../../src/store/state/records.ts"
import { TRANSITIONS, type VmState } from "../../../src/store/state/vmState.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const record = (id: string, name: string) => ({
  id,
  name,
  vmm: "qemu",
  boot_id: "b",
  plugin_path: "/p",
  plugin_sha256: "s",
  spec: "{}",
  request: "{}",
})

test("the database is its owner's alone and survives being opened again", () => {
  const db = openDatabase(directory.path)
  insertRecord(db, record("a-1", "a"))
  db.close()
  expect(statSync(join(directory.path, "state.db")).mode & 0o777).toBe(0o600)
  expect(getRecord(openDatabase(directory.path), "a-1")).toMatchObject({ name: "a", state: "creating", handles: "[]" })
})

test("a database of a newer banger, or that is none, is refused and not touched", () => {
  const path = join(directory.path, "state.db")
  const newer = new Database(path, { create: true })
  newer.exec("pragma user_version = 999")
  expect(() => openDatabase(directory.path)).toThrow(failure("BAD_STATE", "was written by a newer banger (schema 999"))
  newer.exec("create table later (vm text)")
  const used = openDatabase(directory.path, { newer: "used" })
  expect(used.query("pragma user_version").get()).toEqual({ user_version: 999 })
  used.close()
  newer.close()
  for (const name of ["state.db-wal", "state.db-shm"]) rmSync(join(directory.path, name), { force: true })
  writeFileSync(path, "this is not a database, but it is somebody's file\n".repeat(50))
  const before = readFileSync(path)
  expect(() => openDatabase(directory.path)).toThrow(
    failure("BAD_STATE", "state.db cannot be used: file is not a database"),
  )
  expect(readFileSync(path)).toEqual(before)
})

const STATES = Object.keys(TRANSITIONS) as VmState[]
test("a VM moves only along the table of states", () => {
  const db = openDatabase(directory.path)
  for (const from of STATES) {
    for (const to of STATES) {
      const id = `${from}-${to}`
      insertRecord(db, record(id, id))
      db.query("update vms set state = ? where id = ?").run(from, id)
      if (TRANSITIONS[from].includes(to)) {
        changeState(db, id, { to, exit: { why: "test" } })
        expect(getRecord(db, id)).toMatchObject({ state: to, exit: '{"why":"test"}' })
      } else expect(() => changeState(db, id, { to })).toThrow(`is ${from} and cannot become ${to}`)
    }
  }
  expect(TRANSITIONS.running).toEqual(["stopping", "failed"])
})

test("a live VM's name is taken; that of one that has ended is free", () => {
  const db = openDatabase(directory.path)
  insertRecord(db, record("a-1", "a"))
  expect(() => insertRecord(db, record("a-2", "a"))).toThrow(
    failure("IN_USE", "the name a is taken by VM a-1 (creating)"),
  )
  changeState(db, "a-1", { to: "failed" })
  insertRecord(db, record("a-2", "a"))
  expect(listRecords(db).map(({ id }) => id)).toEqual(["a-2", "a-1"])
})

test("of many processes that want one name at once, exactly one gets it", async () => {
  const code = `
    import { openDatabase } from "${join(import.meta.dir, "../../../src/store/state/database.ts")}"
    import { insertRecord } from "${join(import.meta.dir, "../../../src/store/state/records.ts")}"
    const record = ${JSON.stringify(record("ID", "same"))}
    insertRecord(openDatabase(${JSON.stringify(directory.path)}), { ...record, id: "same-" + process.pid })`
  const children = Array.from({ length: 8 }, () => Bun.spawn([process.execPath, "-e", code], { stderr: "pipe" }))
  const ended = await Promise.all(
    children.map(async (child) => ({ code: await child.exited, said: await child.stderr.text() })),
  )
  expect(ended.filter(({ code }) => code === 0)).toHaveLength(1)
  for (const { code, said } of ended) if (code !== 0) expect(said).toContain("the name same is taken")
  expect(listRecords(openDatabase(directory.path))).toHaveLength(1)
})

test("a VM is found by id, by name, or by the beginning of an id", () => {
  const db = openDatabase(directory.path)
  for (const [id, name] of [
    ["web-211", "web"],
    ["web-222", "web"],
    ["db-333", "db"],
  ] as const) {
    insertRecord(db, record(id, name))
    if (id === "web-211") changeState(db, id, { to: "failed" })
  }
  expect(findRecord(db, "web-211").id).toBe("web-211")
  expect(findRecord(db, "web").id).toBe("web-222")
  expect(findRecord(db, "db-3").id).toBe("db-333")
  expect(() => findRecord(db, "web-2")).toThrow(failure("USAGE", "web-2 is ambiguous"))
  expect(() => findRecord(db, "web-")).toThrow(failure("NO_SUCH_VM", "no VM"))
  expect(() => findRecord(db, "")).toThrow('no VM ""')
  expect(() => findRecord(db, "nothing")).toThrow(
    expect.objectContaining({ hint: expect.stringMatching(/^there are: (?:web|db), (?:web|db)$/) }),
  )
  expect(() => findRecord(db, "wbe")).toThrow('no VM "wbe"')
  deleteRecord(db, "db-333")
  expect(() => findRecord(db, "db")).toThrow(failure("NO_SUCH_VM", "no VM"))
})

test("the journal's mirror is read back, and one that is damaged is not believed", () => {
  const db = openDatabase(directory.path)
  insertRecord(db, record("a-1", "a"))
  const journal = { generation: 3, journal: [{ kind: "stage", path: "/x" }] } as const
  mirrorJournal(db, "a-1", journal)
  expect(mirrored(getRecord(db, "a-1"))).toEqual({ ...journal, journal: [...journal.journal] })
  for (const bad of ["", "{", '[{"kind":"disk"}]', '[{"kind":"stage","path":1}]', "null"]) {
    db.query("update vms set handles = ? where id = 'a-1'").run(bad)
    expect(mirrored(getRecord(db, "a-1"))).toBeUndefined()
  }
})

test("a failed start that is left for inspection is told from one that is not", () => {
  const db = openDatabase(directory.path)
  insertRecord(db, record("a-1", "a"))
  expect(getRecord(db, "a-1").keptForInspection).toBe(false)
  noteKept(db, "a-1")
  expect([getRecord(db, "a-1"), ...listRecords(db)].map((row) => row.keptForInspection)).toEqual([true, true])
})

test("the state of an older banger is brought up to date, and what it holds is kept", () => {
  const path = join(directory.path, "state.db")
  const old = new Database(path, { create: true })
  old.exec(`create table vms (id text primary key, name text not null, state text not null, vmm text not null,
    boot_id text not null, plugin_path text not null, plugin_sha256 text not null, spec text not null,
    handles text not null, exit text, created_at integer not null, updated_at integer not null) strict;
    create unique index vms_live_name on vms (name) where state not in ('stopped', 'failed');`)
  old.exec(`insert into vms values ('a-1', 'a', 'running', 'qemu', 'b', '/p', 's', '{}', '[]', null, 1, 1);`)
  old.exec("pragma user_version = 1")
  old.close()
  const db = openDatabase(directory.path)
  expect(getRecord(db, "a-1")).toMatchObject({
    state: "running",
    generation: 0,
    request: "{}",
    post_stop_done: 0,
    keptForInspection: false,
  })
  expect(mirrored(getRecord(db, "a-1"))).toEqual({ generation: 0, journal: [] })
})
