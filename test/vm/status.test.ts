import { expect, test } from "bun:test"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { bootId } from "../../src/base/linux/bootId.ts"
import { identifyChild } from "../../src/host/process/identity.ts"
import { openPid } from "../../src/host/process/pidRef.ts"
import { openDatabase } from "../../src/store/state/database.ts"
import type { ProcessIdentity } from "../../src/store/state/handles.ts"
import { noteKept, noteRestart } from "../../src/store/state/notes.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { changeState, getRecord, insertRecord } from "../../src/store/state/records.ts"
import type { VmState } from "../../src/store/state/vmState.ts"
import { openJournal } from "../../src/vm/journal.ts"
import { lockVm } from "../../src/vm/lock.ts"
import { listVms, stateWords, statusOf, type VmStatus } from "../../src/vm/status.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

function place() {
  return { db: openDatabase(directory.path), where: { state: directory.path, runtime: join(directory.path, "run") } }
}
type Place = ReturnType<typeof place>

/** The states on the way to one, in order. */
const WAY: Readonly<Partial<Record<VmState, readonly VmState[]>>> = {
  booting: ["staging", "booting"],
  running: ["staging", "booting", "running"],
  stopped: ["staging", "booting", "running", "stopping", "stopped"],
  failed: ["failed"],
}

function vm(state: Place, to: VmState, identity?: ProcessIdentity, id = "vm-1") {
  const base = { vmm: "qemu", boot_id: bootId(), plugin_path: "/p.ts", plugin_sha256: "x", spec: "{}", request: "{}" }
  insertRecord(state.db, { id, name: id, ...base })
  const layout = vmLayout(state.where, id)
  mkdirSync(layout.dir, { recursive: true })
  if (identity !== undefined) openJournal(state.db, layout).acquire({ kind: "process", identity })
  for (const next of WAY[to] ?? []) changeState(state.db, id, { to: next })
  return { id, layout, status: () => statusOf(state, getRecord(state.db, id)) }
}

function sleeper() {
  const child = Bun.spawn(["sleep", "600"])
  using held = openPid(child.pid)
  if (held === undefined) throw new Error("the child has ended")
  return { child, identity: identifyChild(held) }
}

test("a VM whose VMM runs is alive, with its process and its supervisor's; without a supervisor the table says so", async () => {
  const { child, identity } = sleeper()
  const { layout, status } = vm(place(), "running", identity)
  expect(status()).toMatchObject({
    ...{ id: "vm-1", name: "vm-1", vmm: "qemu", plugin: "/p.ts", state: "running", endedAtMs: null, exit: null },
    ...{ liveness: "alive", why: undefined, hint: undefined, pid: child.pid, supervisor: undefined },
  })
  expect(stateWords(status())).toBe("running, unsupervised")
  const lock = lockVm(layout, "supervise")
  expect(status()).toMatchObject({ liveness: "alive", supervisor: process.pid })
  expect(stateWords(status())).toBe("running")
  lock?.unlock()
  // One that only finishes it is no supervisor.
  const finishing = lockVm(layout, "finish")
  expect(status().supervisor).toBeUndefined()
  finishing?.unlock()
  child.kill(9)
  await child.exited
})

test("how long a VM has been running is its VMM's time, whatever the host's clock was set to", async () => {
  const { child, identity } = sleeper()
  const state = place()
  const { status } = vm(state, "running", identity)
  for (const step of [30 * 24, -30 * 24]) {
    state.db.query("update vms set running_at = ? where id = 'vm-1'").run(Date.now() + step * 3_600_000)
    const { runningForMs } = status()
    expect(runningForMs).toBeGreaterThanOrEqual(0)
    expect(runningForMs).toBeLessThan(3_600_000)
  }
  child.kill(9)
  await child.exited
  expect(status().runningForMs).toBeNull()
})

test("one whose VMM has ended is dead, and sweep mends it; while its supervisor has it, that is as it should be", async () => {
  const { child, identity } = sleeper()
  child.kill(9)
  await child.exited
  const { layout, status } = vm(place(), "running", identity)
  expect(status()).toMatchObject({ liveness: "dead", pid: undefined, hint: "banger sweep" })
  expect(status().why).toBeDefined()
  expect(stateWords(status())).toBe("running? dead")
  const lock = lockVm(layout, "supervise")
  expect(status()).toMatchObject({ liveness: "dead", why: undefined, hint: undefined })
  expect(stateWords(status())).toBe("running")
  lock?.unlock()
})

test("one of which it cannot be told is unknown, with what to do; so is one whose journal cannot be read", async () => {
  const { child, identity } = sleeper()
  const state = place()
  // Where the kernel has inodes of pidfds, that alone would prove it.
  const { pidfd: _, ...older } = identity
  const { status } = vm(state, "running", { ...older, uid: identity.uid + 1 })
  expect(status()).toMatchObject({ liveness: "unknown", hint: expect.stringContaining(`kill -9 ${child.pid}`) })
  expect(status().why).toStartWith(`process ${child.pid} has uid`)
  expect(stateWords(status())).toBe("running? cannot tell")
  const broken = vm(state, "running", identity, "vm-2")
  state.db.run("update vms set handles = '{' where id = 'vm-2'")
  for (const path of [broken.layout.handles, `${broken.layout.handles}.prev`]) writeFileSync(path, "{")
  expect(broken.status()).toMatchObject({ liveness: "unknown", hint: expect.stringContaining("by hand") })
  child.kill(9)
  await child.exited
})

test("one that never got a VMM is dead: its start was cut short", () => {
  const { status } = vm(place(), "booting")
  expect(status()).toMatchObject({ state: "booting", liveness: "dead", why: "its VMM was never started" })
})

test("one that has ended is dead without a why, unless it holds something still or was kept", () => {
  const state = place()
  expect(vm(state, "stopped").status()).toMatchObject({ state: "stopped", liveness: "dead", why: undefined })
  const holds = vm(state, "failed", undefined, "vm-2")
  openJournal(state.db, holds.layout).acquire({ kind: "stage", path: holds.layout.stage })
  expect(holds.status()).toMatchObject({ why: "not everything of it was released", hint: "banger rm vm-2" })
  expect(stateWords(holds.status())).toBe("failed, not released")
  noteKept(state.db, "vm-2")
  expect(holds.status()).toMatchObject({ why: "a failed start, kept for inspection", hint: "banger rm -f vm-2" })
  expect(listVms(state, true).map(({ id }) => id)).toEqual(["vm-2", "vm-1"])
  expect(listVms(state, false).map(({ id }) => id)).toEqual(["vm-2"])
})

test("one that is to be booted again restarts only as long as a supervisor means to", () => {
  const state = place()
  const { layout, status } = vm(state, "failed")
  noteRestart(state.db, "vm-1", 12_345)
  expect(status()).toMatchObject({ restartAtMs: null, supervisor: undefined })
  const lock = lockVm(layout, "supervise")
  expect(status()).toMatchObject({ restartAtMs: 12_345, supervisor: process.pid })
  expect(stateWords(status())).toBe("failed, restarting")
  lock?.unlock()
})

test("what looks wrong only because the record is old is looked at anew", async () => {
  const { child, identity } = sleeper()
  child.kill(9)
  await child.exited
  const state = place()
  vm(state, "running", identity)
  const old = getRecord(state.db, "vm-1")
  await Bun.sleep(5)
  changeState(state.db, "vm-1", { to: "stopping" })
  changeState(state.db, "vm-1", { to: "stopped", exit: { reason: "lost" } })
  openJournal(state.db, vmLayout(state.where, "vm-1"), { generation: 1, journal: [] }).keepOnly([])
  const status: VmStatus = statusOf(state, old)
  expect(status).toMatchObject({ state: "stopped", liveness: "dead", why: undefined, exit: { reason: "lost" } })
})
