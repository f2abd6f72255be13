import { expect, test } from "bun:test"
import { closeSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { abandon } from "../../src/lifecycle/abandon.ts"
import { neverStarted } from "../../src/lifecycle/exit.ts"
import { forgetOldest } from "../../src/lifecycle/history.ts"
import { openJournal } from "../../src/lifecycle/journal.ts"
import { releaseAll } from "../../src/lifecycle/release.ts"
import { removeVm } from "../../src/lifecycle/remove.ts"
import { mkfifoAt } from "../../src/linux/files.ts"
import { AT_FDCWD } from "../../src/linux/guards.ts"
import { type Child, spawn } from "../../src/process/spawn.ts"
import { openDatabase } from "../../src/state/database.ts"
import { type Resource, readHandles } from "../../src/state/handles.ts"
import { takeLock } from "../../src/state/lock.ts"
import { vmLayout } from "../../src/state/places.ts"
import { changeState, getRecord, insertRecord, listRecords, mirroredJournal } from "../../src/state/records.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

/** A VM as a killed banger leaves it: a record, its directories, and a process that stands for its VMM. */
function leftover(id = "vm-1", state: "failed" | undefined = undefined) {
  const where = { state: directory.path, runtime: join(directory.path, "run") }
  const db = openDatabase(directory.path)
  const layout = vmLayout(where, id)
  insertRecord(db, { id, name: id, vmm: "qemu", boot_id: "b", plugin_path: "/p", plugin_sha256: "s", spec: "{}" })
  if (state !== undefined) changeState(db, id, state)
  for (const dir of [layout.dir, layout.stage, layout.runtime]) mkdirSync(dir, { recursive: true })
  writeFileSync(join(layout.stage, "job.sh"), "x")
  writeFileSync(join(layout.runtime, "qmp.sock"), "x")
  const journal = openJournal(db, id, layout.handles)
  journal.acquire({ kind: "runtime", path: layout.runtime }, { kind: "stage", path: layout.stage })
  return { where, db, layout, journal, id }
}

/** No release here has anything to warn of. */
const unexpected = (text: string) => {
  throw new Error(`warned: ${text}`)
}

function startVmm({ layout, journal }: ReturnType<typeof leftover>): Child {
  journal.acquire({ kind: "process", identity: null })
  mkfifoAt(AT_FDCWD, layout.consoleInput, 0o600)
  const child = spawn({
    argv: ["sleep", "600"],
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
  expect(readHandles(layout.handles)).toEqual(journal.resources)
  expect(mirroredJournal(getRecord(db, id))).toEqual(journal.resources)
})

test("everything is released, proven gone, and only then struck; doing it again is fine", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  expect(releaseAll(vm.journal, vm.layout, unexpected)).toEqual([])
  expect((await child.exited).signal).toBe("SIGKILL")
  expect([vm.layout.stage, vm.layout.runtime].map(existsSync)).toEqual([false, false])
  expect(readHandles(vm.layout.handles)).toEqual([])
  expect(releaseAll(vm.journal, vm.layout, unexpected)).toEqual([])
})

test("when it cannot be told whose a process is, nobody is signalled and no file is taken away", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  vm.journal.refine({ kind: "process", identity: { ...child.identity, uid: child.identity.uid + 1 } })
  const failures = releaseAll(vm.journal, vm.layout, unexpected)
  expect(failures.map(({ message }) => message)).toEqual([expect.stringContaining("cannot tell whether process")])
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

test("a VMM that was started but not written down is found, and not guessed to be gone", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  vm.journal.refine({ kind: "process", identity: null })
  expect(releaseAll(vm.journal, vm.layout, unexpected).map(({ message }) => message)).toEqual([
    `process ${child.identity.pid} writes to ${vm.layout.consoleLog}`,
  ])
  child.signal(9)
  await child.exited
  expect(releaseAll(vm.journal, vm.layout, unexpected)).toEqual([])
})

test("rm refuses what runs, what another holds, and what it cannot read; -f kills first", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  expect(() => removeVm(vm, vm.id, false, unexpected)).toThrow(`still runs as process ${child.identity.pid}`)
  const lock = takeLock(vm.layout.lock)
  expect(() => removeVm(vm, vm.id, true, unexpected)).toThrow("is in the hands of another banger")
  closeSync(lock ?? -1)
  writeFileSync(vm.layout.handles, "{")
  vm.db.query("update vms set handles = '{'").run()
  expect(() => removeVm(vm, vm.id, true, unexpected)).toThrow("can be read; nothing was removed")
  expect(existsSync(vm.layout.stage)).toBe(true)
  const journal: Resource[] = [
    { kind: "stage", path: vm.layout.stage },
    { kind: "runtime", path: vm.layout.runtime },
    { kind: "process", identity: child.identity },
  ]
  vm.db.query("update vms set handles = ?").run(JSON.stringify(journal))
  removeVm(vm, vm.id, true, unexpected)
  expect((await child.exited).signal).toBe("SIGKILL")
  expect(existsSync(vm.layout.dir)).toBe(false)
  expect(listRecords(vm.db)).toEqual([])
})

test("only the oldest VMs that have ended and hold nothing are forgotten", () => {
  const kept = leftover("holds-something", "failed")
  for (const id of ["old-1", "old-2", "new-1"]) {
    const vm = leftover(id, "failed")
    releaseAll(vm.journal, vm.layout, unexpected)
    vm.db.query("update vms set created_at = ? where id = ?").run(id === "new-1" ? 9 : 1, id)
  }
  leftover("lives")
  forgetOldest(kept, 1)
  expect(
    listRecords(kept.db)
      .map(({ id }) => id)
      .sort(),
  ).toEqual(["holds-something", "lives", "new-1"])
  expect(existsSync(vmLayout(kept.where, "old-1").dir)).toBe(false)
})

test("a VM whose supervisor is stuck is ended from its journal alone", async () => {
  const vm = leftover()
  const child = startVmm(vm)
  const env = { state: process.env.BANGER_STATE_DIR, runtime: process.env.BANGER_RUNTIME_DIR }
  Object.assign(process.env, { BANGER_STATE_DIR: vm.where.state, BANGER_RUNTIME_DIR: vm.where.runtime })
  try {
    Bun.spawnSync(["chmod", "0700", vm.where.state, vm.where.runtime])
    expect(abandon(vm.id, neverStarted("preBoot blocks everything"))).toEqual([
      expect.stringContaining("its postStop hooks did not run"),
    ])
  } finally {
    for (const [name, value] of [
      ["BANGER_STATE_DIR", env.state],
      ["BANGER_RUNTIME_DIR", env.runtime],
    ] as const) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
  expect((await child.exited).signal).toBe("SIGKILL")
  expect(getRecord(vm.db, vm.id)).toMatchObject({ state: "failed", handles: "[]" })
})

function readBootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "ascii").trim()
}
