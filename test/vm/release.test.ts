import { expect, test } from "bun:test"
import { closeSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { mkfifoAt } from "../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../src/base/linux/guards.ts"
import { ownNamespace } from "../../src/host/process/procfs.ts"
import { type Child, spawn } from "../../src/host/process/spawn.ts"
import { removeVm } from "../../src/operations/end/remove.ts"
import { meantBy } from "../../src/operations/end/stop.ts"
import { forgetOldest } from "../../src/operations/run/forgetOldest.ts"
import { takeLock } from "../../src/store/files/lock.ts"
import { openDatabase } from "../../src/store/state/database.ts"
import { type Resource, readHandles } from "../../src/store/state/handles.ts"
import { noteStop } from "../../src/store/state/notes.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { changeState, getRecord, insertRecord, listRecords, mirrored } from "../../src/store/state/records.ts"
import { killAndCleanUp } from "../../src/supervisor/hooks/killAndCleanUp.ts"
import { neverStarted } from "../../src/vm/exit.ts"
import { openJournal } from "../../src/vm/journal.ts"
import { releaseAll } from "../../src/vm/release.ts"
import { otherPidNamespace } from "../fixtures/otherPidNamespace.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

/** A VM as a killed banger leaves it: a record, its directories, and a process that stands for its VMM. */
function leftover(id = "vm-1", state: "failed" | undefined = undefined) {
  const where = { state: directory.path, runtime: join(directory.path, "run") }
  const db = openDatabase(directory.path)
  const layout = vmLayout(where, id)
  insertRecord(db, {
    id,
    name: id,
    vmm: "qemu",
    boot_id: readBootId(),
    plugin_path: "/p",
    plugin_sha256: "s",
    spec: "{}",
    request: "{}",
  })
  if (state !== undefined) changeState(db, id, { to: state })
  for (const dir of [layout.dir, layout.stage, layout.runtime]) mkdirSync(dir, { recursive: true })
  writeFileSync(join(layout.stage, "job.sh"), "x")
  writeFileSync(join(layout.runtime, "qmp.sock"), "x")
  const journal = openJournal(db, layout)
  journal.acquire({ kind: "runtime", path: layout.runtime }, { kind: "stage", path: layout.stage })
  return { where, db, layout, journal, id }
}

/** No release here has anything to warn of. */
const unexpected = (text: string) => {
  throw new Error(`warned: ${text}`)
}

/** Finishing a VM tells that the plugin of these is not there. */
const silent = { debug() {}, info() {}, warn() {}, error() {} }

function startVmm({ layout, journal }: ReturnType<typeof leftover>): Child {
  journal.acquire({ kind: "process", identity: null })
  mkfifoAt(AT_FDCWD, layout.consoleInput, 0o600)
  const child = spawn({
    argv: ["/bin/sleep", "600"],
    stdin: layout.consoleInput,
    stdout: layout.consoleLog,
    stderr: layout.vmmLog,
    passed: [],
  })
  journal.refine({ kind: "process", identity: child.identity })
  return child
}

test("the journal is on disk and on the record before anything else can happen", () => {
  const { db, layout, journal, id } = leftover()
  expect(readHandles(layout.handles)).toEqual({ is: "good", generation: 1, journal: journal.resources })
  expect(mirrored(getRecord(db, id))).toEqual({ generation: 1, journal: journal.resources })
})

test("everything is released, proven gone, and only then struck; doing it again is fine", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  expect(releaseAll(vm.journal, vm.layout, unexpected)).toEqual([])
  expect((await child.exited).signal).toBe("SIGKILL")
  expect([vm.layout.stage, vm.layout.runtime].map(existsSync)).toEqual([false, false])
  expect(readHandles(vm.layout.handles)).toMatchObject({ is: "good", journal: [] })
  expect(releaseAll(vm.journal, vm.layout, unexpected)).toEqual([])
})

test("when it cannot be told whose a process is, nobody is signalled and no file is taken away", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  vm.journal.refine({ kind: "process", identity: { ...child.identity, uid: child.identity.uid + 1 } })
  const failures = releaseAll(vm.journal, vm.layout, unexpected)
  expect(failures.map(({ message }) => message)).toEqual([
    expect.stringContaining("cannot tell whether vm-1 runs: process"),
  ])
  expect(vm.journal.resources.map(({ kind }) => kind)).toEqual(["runtime", "stage", "process"])
  expect(existsSync(vm.layout.stage)).toBe(true)
  expect(readFileSync(`/proc/${child.identity.pid}/stat`, "latin1")).toContain(") S ")
  child.signal(9)
  await child.exited
})

test("a pid that has become another process's is not signalled; the VM's files go", () => {
  const vm = leftover()
  const self = { pid: process.pid, startTime: 1, uid: process.geteuid?.() ?? 0, root: "0:0", bootId: readBootId() }
  vm.journal.acquire({ kind: "process", identity: self })
  expect(releaseAll(vm.journal, vm.layout, unexpected)).toEqual([])
  expect(existsSync(vm.layout.stage)).toBe(false)
})

test("a VMM that was started but not written down is found, refused without force, and killed with it", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  vm.journal.refine({ kind: "process", identity: null })
  await expect(removeVm(vm, meantBy(vm, vm.id), { force: false, log: silent })).rejects.toThrow(
    `still runs as process ${child.identity.pid}`,
  )
  await removeVm(vm, meantBy(vm, vm.id), { force: true, log: silent })
  expect((await child.exited).signal).toBe("SIGKILL")
  expect(existsSync(vm.layout.dir)).toBe(false)
})

test("a VMM not written down is looked for only in the namespace that it was started in", async () => {
  const vm = leftover()
  vm.journal.acquire({ kind: "process", identity: null })
  const [entry] = vm.journal.resources.slice(-1)
  expect(entry).toEqual({ kind: "process", identity: null, pidNamespace: ownNamespace("pid") ?? "" })
  using elsewhere = otherPidNamespace()
  vm.journal.refine({ kind: "process", identity: null, pidNamespace: elsewhere.inode })
  for (const force of [false, true]) {
    const error = await removeVm(vm, meantBy(vm, vm.id), { force, log: silent }).catch((error: unknown) => error)
    expect(error).toMatchObject({
      message: expect.stringMatching(/cannot tell whether .*vm-1.* runs: it was started in another PID namespace$/),
      hint: `do this in the container that the VM was started in; if that is gone: banger forget ${vm.id}`,
    })
  }
  expect(existsSync(vm.layout.stage)).toBe(true)
})

test("when it cannot be told whose a process is, rm says what to do about it, and without force kills nothing", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  vm.journal.refine({ kind: "process", identity: { ...child.identity, uid: child.identity.uid + 1 } })
  for (const force of [false, true]) {
    const error = await removeVm(vm, meantBy(vm, vm.id), { force, log: silent }).catch((error: unknown) => error)
    expect(error).toMatchObject({
      code: "LIVENESS_UNKNOWN",
      subject: "vm-1",
      message: expect.stringMatching(
        new RegExp(`cannot tell whether .*vm-1.* runs: process ${child.identity.pid} has uid`),
      ),
      hint: expect.stringContaining(`kill -9 ${child.identity.pid}`),
    })
  }
  child.signal(9)
  await child.exited
})

test("rm refuses what runs, what another holds, and what it cannot read; -f kills first", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  await expect(removeVm(vm, meantBy(vm, vm.id), { force: false, log: silent })).rejects.toThrow(
    `still runs as process ${child.identity.pid}`,
  )
  const lock = takeLock(vm.layout.lock)
  await expect(removeVm(vm, meantBy(vm, vm.id), { force: false, log: silent })).rejects.toThrow(
    "has not ended: it is creating",
  )
  closeSync(lock ?? -1)
  writeFileSync(vm.layout.handles, "{")
  writeFileSync(`${vm.layout.handles}.prev`, "")
  vm.db.query("update vms set handles = '{'").run()
  await expect(removeVm(vm, meantBy(vm, vm.id), { force: true, log: silent })).rejects.toThrow(
    "can be read; nothing was removed",
  )
  expect(existsSync(vm.layout.stage)).toBe(true)
  const journal: Resource[] = [
    { kind: "stage", path: vm.layout.stage },
    { kind: "runtime", path: vm.layout.runtime },
    { kind: "process", identity: child.identity },
  ]
  vm.db.query("update vms set handles = ?").run(JSON.stringify(journal))
  await removeVm(vm, meantBy(vm, vm.id), { force: true, log: silent })
  expect((await child.exited).signal).toBe("SIGKILL")
  expect(existsSync(vm.layout.dir)).toBe(false)
  expect(listRecords(vm.db)).toEqual([])
})

test("a VM cut short as it was made or removed, with a record and no directory, can be removed", async () => {
  const vm = leftover()
  releaseAll(vm.journal, vm.layout, unexpected)
  rmSync(vm.layout.dir, { recursive: true })
  expect(releaseAll(vm.journal, vm.layout, unexpected)).toEqual([])
  await removeVm(vm, meantBy(vm, vm.id), { force: true, log: silent })
  expect(existsSync(vm.layout.dir)).toBe(false)
  expect(listRecords(vm.db)).toEqual([])
})

test("a journal whose directory is gone takes nothing new", () => {
  const vm = leftover()
  rmSync(vm.layout.dir, { recursive: true })
  expect(() => vm.journal.acquire({ kind: "stage", path: vm.layout.stage })).toThrow("ENOENT")
})

/** VMs that have ended and hold nothing, in the order of their ends. */
function endedVms(...ids: readonly string[]) {
  return ids.map((id, index) => {
    const vm = leftover(id, "failed")
    releaseAll(vm.journal, vm.layout, unexpected)
    vm.db.query("update vms set created_at = ?, updated_at = ? where id = ?").run(-index, index, id)
    return vm
  })
}

const idsOf = ({ db }: Pick<ReturnType<typeof leftover>, "db">) =>
  listRecords(db)
    .map(({ id }) => id)
    .sort()

test("only the VMs that ended first and hold nothing are forgotten", () => {
  const kept = leftover("holds-something", "failed")
  endedVms("old-1", "old-2", "new-1")
  leftover("lives")
  forgetOldest(kept, "new-1", { remembered: 1 })
  expect(idsOf(kept)).toEqual(["holds-something", "lives", "new-1"])
  expect(existsSync(vmLayout(kept.where, "old-1").dir)).toBe(false)
})

test("the run that has just ended is never forgotten, whatever the clock says", () => {
  const [vm] = endedVms("current", "old-1", "old-2")
  if (vm === undefined) throw new Error("no VM")
  forgetOldest(vm, "current", { remembered: 1 })
  expect(idsOf(vm)).toEqual(["current", "old-2"])
})

test("what a boot of the host is to start again is not forgotten, nor what its start takes the place of", () => {
  const [one] = endedVms("always", "current", "down", "removed", "replaced", "stopped")
  if (one === undefined) throw new Error("no VM")
  const { db } = one
  const set = (id: string, restart: string, name = id) =>
    db
      .query("update vms set name = ?, running_at = 1, spec = ? where id = ?")
      .run(name, JSON.stringify({ restart }), id)
  for (const id of ["always", "removed"]) set(id, "always")
  for (const id of ["down", "stopped"]) set(id, "unless-stopped")
  set("replaced", "unless-stopped", "lives")
  leftover("lives")
  db.query("update vms set name = 'lives' where id = 'lives'").run()
  noteStop(db, "always", "stopped")
  noteStop(db, "stopped", "stopped")
  noteStop(db, "removed", "removed")
  forgetOldest(one, "current", { remembered: 0 })
  expect(idsOf(one)).toEqual(["always", "current", "down", "lives", "replaced"])
})

test("a VM that another banger has in its hands is not forgotten; one forgotten halfway is", () => {
  const [held, gone] = endedVms("held", "gone", "current")
  if (held === undefined || gone === undefined) throw new Error("no VM")
  rmSync(gone.layout.dir, { recursive: true })
  const lock = takeLock(held.layout.lock) ?? -1
  forgetOldest(held, "current", { remembered: 0 })
  expect(idsOf(held)).toEqual(["current", "held"])
  closeSync(lock)
})

test("a VM whose supervisor is stuck is ended from its journal alone", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  const state = { db: openDatabase(vm.where.state), where: vm.where }
  expect(killAndCleanUp(vm.id, neverStarted("preBoot blocks everything"), state)).toEqual([
    expect.stringContaining("its postStop hooks did not run"),
  ])
  expect((await child.exited).signal).toBe("SIGKILL")
  expect(getRecord(vm.db, vm.id)).toMatchObject({ state: "failed", handles: "[]" })
})

function readBootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "ascii").trim()
}
