import { expect, test } from "bun:test"
import { appendFileSync, existsSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Failure } from "../../src/base/terms/failure.ts"
import { decodeStatus } from "../../src/host/process/exitStatus.ts"
import { openPid } from "../../src/host/process/pidRef.ts"
import { parseZombieStatus } from "../../src/host/process/procfs.ts"
import { controlKey } from "../../src/operations/attach.ts"
import { followLines } from "../../src/store/logs/lines.ts"
import { openDatabase } from "../../src/store/state/database.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { insertRecord } from "../../src/store/state/records.ts"
import { restartPolicy } from "../../src/supervisor/restartPolicy.ts"
import { endOf } from "../../src/vm/exit.ts"
import { lockHolder, lockVm } from "../../src/vm/lock.ts"
import { lockVmRecord } from "../../src/vm/lockVmRecord.ts"
import { askToStop, takeStopRequest } from "../../src/vm/stopRequest.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const layout = () => vmLayout({ state: directory.path, runtime: join(directory.path, "run") }, "vm-1")

test("a lock tells who holds it, from the moment it is held to the moment it is not", () => {
  expect(lockHolder(layout()).is).toBe("free")
  const lock = lockVm(layout(), "supervise")
  using holder = lockHolder(layout())
  expect(holder).toMatchObject({ is: "held", process: { pid: process.pid }, doing: "supervise" })
  expect(lockVm(layout(), "finish")).toBeUndefined()
  lock?.unlock()
  lock?.unlock()
  expect(lockHolder(layout()).is).toBe("free")
  writeFileSync(layout().lock, '{"doing":"supervise","identity":{"pid":')
  expect(lockHolder(layout()).is).toBe("unknown")
})

test("however many ask for a stop, its supervisor gets one signal; to kill is another matter; a request is taken once", async () => {
  const lock = lockVm(layout(), "supervise")
  const heard: string[] = []
  const names = ["SIGTERM", "SIGUSR1"] as const
  const ask = (action: "stop" | "kill", state: "running" | "stopping", timeout?: number) => {
    using self = openPid(process.pid)
    if (self === undefined) throw new Error("this process is not there")
    return askToStop(self, { action, timeout }, { layout: layout(), stateNow: () => state })
  }
  const hear = (name: string) => heard.push(name)
  for (const name of names) process.on(name, hear)
  expect(takeStopRequest(layout())).toBeUndefined()
  expect(ask("stop", "running", 5)).toBe("asked")
  expect(ask("stop", "running")).toBe("asked before")
  expect(ask("kill", "running")).toBe("asked")
  expect(ask("kill", "running")).toBe("asked before")
  expect(ask("stop", "running")).toBe("asked before")
  expect(takeStopRequest(layout())).toMatchObject({ action: "kill" })
  expect(takeStopRequest(layout())).toBeUndefined()
  expect(ask("stop", "stopping")).toBe("asked before")
  writeFileSync(layout().stopRequest, "{")
  expect(takeStopRequest(layout())).toBeUndefined()
  // Of a supervisor that has ended it says nothing.
  writeFileSync(layout().stopRequest, JSON.stringify({ action: "stop", to: 1 }))
  expect(ask("stop", "running")).toBe("asked")
  await Bun.sleep(0)
  expect(heard).toEqual(["SIGTERM", "SIGTERM", "SIGTERM"])
  for (const name of names) process.off(name, hear)
  lock?.unlock()
})

test("a VM that is being made is left to whoever makes it: its record comes a moment before its lock", async () => {
  const db = openDatabase(directory.path)
  const base = { vmm: "qemu", boot_id: "x", plugin_path: "/p.ts", plugin_sha256: "x", spec: "{}", request: "{}" }
  insertRecord(db, { id: "vm-1", name: "vm", ...base })
  const done = join(directory.path, "done")
  const maker = Bun.spawn(
    ["flock", join(directory.path, "state.lock"), "sh", "-c", `echo on; sleep 0.3; touch ${done}`],
    {
      stdout: "pipe",
    },
  )
  await maker.stdout.getReader().read()
  const held = lockVmRecord(
    { db, where: { state: directory.path, runtime: join(directory.path, "run") } },
    "vm-1",
    "finish",
  )
  expect(existsSync(done)).toBe(true)
  if (typeof held === "object") held.lock.unlock()
  db.close()
})

const exit = {
  reason: "crashed",
  requested: false,
  code: 1,
  signal: null,
  panic: undefined,
  detail: undefined,
} as const
const failed = { failure: new Failure("FAILED", "x"), exit }
const well = { failure: undefined, exit }

test.each([
  ["no", failed, undefined],
  ["on-failure", failed, 100],
  ["on-failure", well, undefined],
  ["always", well, 100],
  ["always", { failure: undefined, exit: { ...exit, requested: true } }, undefined],
] as const)("policy %s after %p waits %p ms", (policy, outcome, wait) => {
  expect(restartPolicy({ policy, limit: 3, delay: 100 }).next(outcome)).toBe(wait)
})

test("each restart waits twice as long, to the limit; a VM that ran for a minute begins anew", () => {
  const policy = restartPolicy({ policy: "always", limit: 3, delay: 1000 }, 0)
  expect([0, 0, 0, 0].map((at) => policy.next(failed, at))).toEqual([1000, 2000, 4000, undefined])
  expect(policy.next(failed, 70_000)).toBe(1000)
  const long = restartPolicy({ policy: "always", limit: 100, delay: 1000 }, 0)
  expect(Array.from({ length: 12 }, () => long.next(failed, 0)).at(-1)).toBe(5 * 60_000)
})

test.each([
  ["[    3.1] reboot: Restarting system\r\n", "guest reset"],
  ["x\n[    3.1] reboot: Power down\n", "guest powered off"],
  ["[    3.1] reboot: Power down\nlogin: \nhello\nthere\n", "lost"],
  ["[    1.0] Kernel panic - not syncing: oh\n", "guest panicked"],
  ["", "lost"],
] as const)("a console that ends with %p means %s", (tail, reason) => expect(endOf(tail)).toBe(reason))

test("wait statuses", () => {
  expect(decodeStatus(0x300)).toEqual({ code: 3, signal: null })
  expect(decodeStatus(9)).toEqual({ code: null, signal: "SIGKILL" })
  expect(decodeStatus(0x8b)).toEqual({ code: null, signal: "SIGSEGV" })
})

test("of a zombie /proc tells the status; of another process at its pid it does not", () => {
  const fields = (state: string, start: number) =>
    `77 (a ) b) ${state} ${Array.from({ length: 49 }, (_, at) => (at === 18 ? start : at === 48 ? 1280 : 0)).join(" ")}\n`
  expect(parseZombieStatus(fields("Z", 5), 5)).toBe(1280)
  expect(parseZombieStatus(fields("S", 5), 5)).toBeUndefined()
  expect(parseZombieStatus(fields("Z", 6), 5)).toBeUndefined()
  expect(parseZombieStatus("", 5)).toBeUndefined()
})

test("lines are followed through cuts, a new name and a name that comes late", () => {
  const path = join(directory.path, "lines")
  const lines = followLines(path)
  expect(lines.take()).toEqual([])
  writeFileSync(path, "one\ntw")
  expect(lines.take()).toEqual(["one"])
  renameSync(path, `${path}.moved`)
  appendFileSync(`${path}.moved`, "o\n\nthree\n")
  expect(lines.take()).toEqual(["two", "three"])
})

test.each([
  ["ctrl-]", 29],
  ["ctrl-P", 16],
  ["CTRL-a", 1],
] as const)("%s is byte %d", (text, byte) => expect(controlKey(text)).toBe(byte))
test.each(["", "x", "ctrl-", "ctrl-é", "ctrl-pp"])("%p is no key", (text) => {
  expect(() => controlKey(text)).toThrow("is not a key with Ctrl")
})
