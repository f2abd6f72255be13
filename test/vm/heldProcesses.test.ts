import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { constants } from "node:os"
import { join } from "node:path"
import { bootId } from "../../src/base/linux/bootId.ts"
import { close, inodeOf, mkfifoAt, openAt, statPath, withDescriptor } from "../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../src/base/linux/guards.ts"
import { interpose } from "../../src/base/linux/interpose.ts"
import { listenUnix } from "../../src/base/linux/sockets.ts"
import { processLiveness } from "../../src/host/process/identity.ts"
import { endMembers, membersOf } from "../../src/host/process/members.ts"
import { closingAll } from "../../src/host/process/pidRef.ts"
import { type Child, SIGKILL, spawn } from "../../src/host/process/spawn.ts"
import { findVmm } from "../../src/host/search/findVmm.ts"
import { holdersOf } from "../../src/host/search/holders.ts"
import { listenerIn, scanned } from "../../src/host/search/witnesses.ts"
import type { ProcessIdentity, Resource } from "../../src/store/state/handles.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { livenessOf } from "../../src/vm/liveness.ts"
import { lockHolder, lockVm } from "../../src/vm/lock.ts"
import { proveAbsent } from "../../src/vm/proveAbsent.ts"
import { refuseIfSelfWait } from "../../src/vm/selfWait.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()
const layout = () => vmLayout({ state: directory.path, runtime: join(directory.path, "run") }, "vm-7f3a")
const at = (name: string) => join(directory.path, name)
const open = () => readdirSync("/proc/self/fd").length
const O_PATH = 0o10000000

let child: Bun.Subprocess
beforeAll(() => {
  child = Bun.spawn(["sleep", "600"])
})
afterAll(() => child.kill(9))

function start(console = at("out")): Child {
  mkfifoAt(AT_FDCWD, at("in"), 0o600)
  return spawn({ argv: ["/bin/sleep", "600"], stdin: at("in"), stdout: console, stderr: at("err"), passed: [] })
}

/** That it cannot be told is an answer here too. */
function quietly(look: () => unknown): void {
  try {
    look()
  } catch {}
}

/** Fails unless as many descriptors are open after a hundred looks as before them, whatever the looks say or throw. */
function expectNoLeak(name: string, looks: number, look: () => unknown): void {
  // The first look may open what stays, once. And what other tests have left may be opened or closed meanwhile, once.
  quietly(look)
  let left: number | undefined
  for (let round = 0; round < 3 && left !== 0; round++) {
    const before = open()
    for (let n = 0; n < looks; n++) quietly(look)
    left = open() - before
  }
  expect(left, name).toBe(0)
}

/** As `expectNoLeak`, with one system call of each look failing: so many of them, from its first to its last. */
function expectNoLeakWhenFailing(name: string, looks: number, look: () => unknown): void {
  let calls = 0
  const failAt = (nth: number) => {
    calls = 0
    interpose({ before: (call) => (call !== "close" && ++calls === nth ? constants.errno.EIO : 0) })
    try {
      return look()
    } finally {
      interpose(undefined)
    }
  }
  quietly(() => failAt(0))
  const step = Math.max(1, calls / looks)
  let at = 0
  expectNoLeak(`${name}, failing`, looks, () => failAt(Math.round(1 + step * (at++ % looks))))
}

const changed: readonly [string, (identity: ProcessIdentity) => ProcessIdentity][] = [
  ["alive", (identity) => identity],
  ["dead", (identity) => ({ ...identity, startTime: identity.startTime + 1 })],
  ["gone", (identity) => ({ ...identity, pid: 2 ** 22 })],
  ["unknown", (identity) => ({ ...identity, uid: identity.uid + 1 })],
]

test.each(changed)("nothing stays open when a process is %s", async (is, change) => {
  const vmm = start()
  const identity = change(vmm.identity)
  const process: Resource = { kind: "process", identity }
  const looks: readonly [string, () => string][] = [
    [
      "processLiveness",
      () => {
        using answer = processLiveness(identity)
        return answer.is
      },
    ],
    [
      "findVmm",
      () => {
        using answer = findVmm({ identity, console: at("out") })
        return answer.is
      },
    ],
    [
      "livenessOf",
      () => {
        using answer = livenessOf({ boot_id: bootId() }, layout(), [process])
        return answer.is
      },
    ],
  ]
  for (const [name, look] of looks) {
    expect(look(), name).toBe(is === "gone" ? "dead" : is)
    expectNoLeak(name, 100, look)
    // It goes through the others. What cannot be read is waited for a moment: these take their time.
    if (is === "alive" && name === "livenessOf") expectNoLeakWhenFailing(name, 20, look)
  }
  const prove = () => proveAbsent(layout(), [process])
  if (is === "alive" || is === "unknown") expect(prove).toThrow()
  else prove()
  expectNoLeak("proveAbsent", 100, prove)
  vmm.signal(SIGKILL)
  await vmm.exited
})

test("nothing stays open when processes are searched for, whoever names them", async () => {
  const vm = layout()
  mkdirSync(vm.dir, { recursive: true })
  const vmm = start(vm.consoleLog)
  const listener = listenUnix(at("api.sock"), 4096)
  const search = () => {
    using answer = findVmm({
      ...{ identity: null, console: vm.consoleLog, socket: "api.sock" },
      bare: { directory: directory.path, commandLines: [["--id", "vm-7f3a"]] },
    })
    return answer.is
  }
  expect(search()).toBe("alive")
  expectNoLeak("findVmm", 100, search)
  expectNoLeakWhenFailing("findVmm", 100, search)
  const hold = () => {
    using _ = closingAll(holdersOf(vm.consoleLog))
  }
  expectNoLeak("holdersOf", 100, hold)
  expectNoLeakWhenFailing("holdersOf", 100, hold)
  const members = () => {
    using _ = closingAll(membersOf(vmm.identity.root, vmm.identity.uid))
  }
  expectNoLeak("membersOf", 100, members)
  expectNoLeakWhenFailing("membersOf", 100, members)
  expectNoLeak("endMembers", 100, () => endMembers("1:2:3", 65_533, 10))
  const { root, uid } = vmm.identity
  const marks = { console: inodeOf(statPath(vm.consoleLog)), jail: { root, uid }, commandLines: [] }
  const scan = () => {
    using _ = closingAll(scanned(marks, vm.consoleLog).map(({ process }) => process))
  }
  expectNoLeak("scanned", 100, scan)
  expectNoLeakWhenFailing("scanned", 100, scan)
  const heard = () =>
    withDescriptor(openAt(AT_FDCWD, directory.path, O_PATH), (dir) => {
      using _ = closingAll(listenerIn(dir, "api.sock").map(({ process }) => process))
    })
  expectNoLeak("listenerIn", 100, heard)
  expectNoLeakWhenFailing("listenerIn", 100, heard)
  close(listener)
  vmm.signal(SIGKILL)
  await vmm.exited
  expect(search()).toBe("dead")
  expectNoLeak("findVmm", 100, search)
})

test("nothing stays open when it is asked who holds a VM's lock", () => {
  const vm = layout()
  const record = { id: vm.id, name: "vm" }
  const look = () => {
    using holder = lockHolder(vm)
    return holder.is
  }
  const lock = lockVm(vm, "supervise")
  const refuse = () => refuseIfSelfWait(vm, record)
  expect(look()).toBe("held")
  for (const [name, one] of [
    ["held", look],
    ["refused", refuse],
  ] as const) {
    expectNoLeak(name, 100, one)
    if (name === "held") expectNoLeakWhenFailing(name, 20, one)
  }
  lock?.unlock()
  expect(look()).toBe("free")
  expectNoLeak("free", 100, look)
  writeFileSync(vm.lock, '{"doing":"supervise","identity":{"pid":')
  expect(look()).toBe("unknown")
  expectNoLeak("unknown", 100, look)
  const dead = { pid: child.pid, startTime: 1, bootId: bootId(), uid: 0, root: inodeOf(statPath("/")) }
  writeFileSync(vm.lock, JSON.stringify({ doing: "supervise", identity: dead }))
  expect(look()).toBe("free")
  expectNoLeak("dead", 100, look)
})
