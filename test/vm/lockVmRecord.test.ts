import { expect, test } from "bun:test"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { openDatabase } from "../../src/store/state/database.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { changeState, insertRecord } from "../../src/store/state/records.ts"
import { lockHolder } from "../../src/vm/lock.ts"
import { type LockedVm, lockVmRecord } from "../../src/vm/lockVmRecord.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

function place() {
  const state = {
    db: openDatabase(directory.path),
    where: { state: directory.path, runtime: join(directory.path, "run") },
  }
  return { state, layout: vmLayout(state.where, "vm-1") }
}

const BASE = { vmm: "qemu", boot_id: "x", plugin_path: "/p.ts", plugin_sha256: "x", spec: "{}", request: "{}" }

function locked(found: LockedVm | "gone" | undefined): LockedVm {
  if (typeof found !== "object") throw new Error(`it is ${found}`)
  return found
}

/** Somebody who has the turn of this state directory for a moment, and does something in it at its end. */
async function inTheTurn(script: string): Promise<void> {
  const turn = ["flock", join(directory.path, "state.lock"), "sh", "-c", `echo on; sleep 0.3; ${script}`]
  await Bun.spawn(turn, { stdout: "pipe" }).stdout.getReader().read()
}

test("the record is read only once the VM is locked", () => {
  const { state, layout } = place()
  insertRecord(state.db, { id: "vm-1", name: "vm", ...BASE })
  const first = locked(lockVmRecord(state, "vm-1", "finish"))
  expect(first.record).toMatchObject({ id: "vm-1", state: "creating" })
  expect(first.layout).toEqual(layout)
  {
    using holder = lockHolder(layout)
    expect(holder).toMatchObject({ is: "held", process: { pid: process.pid }, doing: "finish" })
  }
  expect(lockVmRecord(state, "vm-1", "supervise")).toBeUndefined()
  changeState(state.db, "vm-1", { to: "failed" })
  first.lock.unlock()
  const second = locked(lockVmRecord(state, "vm-1", "supervise"))
  expect(second.record.state).toBe("failed")
  second.lock.unlock()
})

test("a VM without a record is gone, and nothing is made for it", () => {
  const { state, layout } = place()
  expect(lockVmRecord(state, "vm-1", "finish")).toBe("gone")
  expect(existsSync(layout.dir)).toBe(false)
})

test("a VM that is being made is left to whoever makes it: its record comes a moment before its lock", async () => {
  const { state } = place()
  insertRecord(state.db, { id: "vm-1", name: "vm", ...BASE })
  const done = join(directory.path, "done")
  await inTheTurn(`touch ${done}`)
  const found = lockVmRecord(state, "vm-1", "finish")
  expect(existsSync(done)).toBe(true)
  locked(found).lock.unlock()
})

test("a VM that is removed between the two looks is gone: not even the directory of its lock is left", async () => {
  const { state, layout } = place()
  insertRecord(state.db, { id: "vm-1", name: "vm", ...BASE })
  const code = `new (require("bun:sqlite").Database)("${join(directory.path, "state.db")}").run("delete from vms")`
  await inTheTurn(`${process.execPath} -e '${code}'`)
  expect(lockVmRecord(state, "vm-1", "finish")).toBe("gone")
  expect(existsSync(layout.dir)).toBe(false)
})
