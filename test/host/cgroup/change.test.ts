import { expect, test } from "bun:test"
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { constants } from "node:os"
import { join } from "node:path"
import { interpose } from "../../../src/base/linux/interpose.ts"
import {
  changeLimits,
  lifts,
  makeRoom,
  openRunningCgroup,
  type RunningCgroup,
  requireMemory,
  requireThreads,
} from "../../../src/host/cgroup/change.ts"
import { limitsAt, parseIoMax } from "../../../src/host/cgroup/present.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const MIB_BYTES = 1024 * 1024

/** Files in the place of a cgroup's; the kernel's own are tried in a guest (run.inGuest.test.ts). */
function cgroupOf(files: Readonly<Record<string, string>>): string {
  const path = join(directory.path, "banger/vm-1")
  mkdirSync(path, { recursive: true })
  for (const [name, text] of Object.entries({ "cgroup.events": "populated 1", ...files }))
    writeFileSync(join(path, name), text)
  return path
}
function within<T>(path: string, use: (cgroup: RunningCgroup) => T): T {
  using cgroup = openRunningCgroup({ name: "web", id: "vm-1", mount: directory.path, path })
  return use(cgroup)
}

test("what a cgroup allows is told; where a controller is off, there is no limit", () => {
  const io = "8:0 rbps=1000 wbps=max riops=max wiops=5\n8:16 rbps=max wbps=max riops=max wiops=max\n"
  const files = {
    "memory.max": "1024\n",
    "memory.current": "1000\n",
    "cpu.max": "150000 100000\n",
    "pids.max": "max\n",
  }
  expect(limitsAt(cgroupOf({ ...files, "io.max": io }))).toEqual({
    ...{ memoryBytes: 1024, memoryUsedBytes: 1000, cpus: 1.5, pids: null },
    io: [
      { device: "8:0", readBytes: 1000, writeBytes: null, readOps: null, writeOps: 5 },
      { device: "8:16", readBytes: null, writeBytes: null, readOps: null, writeOps: null },
    ],
  })
  const none = { memoryBytes: null, memoryUsedBytes: null, cpus: null, pids: null, io: [] }
  expect(limitsAt(cgroupOf({ "cpu.max": "max 100000", "memory.max": "", "memory.current": "", "io.max": "" }))).toEqual(
    {
      ...none,
    },
  )
  expect(limitsAt(join(directory.path, "nothing"))).toBeUndefined()
  expect(parseIoMax("")).toEqual([])
})

/** Memory in use, of which some is only kept for later, in MiB. */
const memory = (used: number, kept = 0, limit = "max") => ({
  ...{ "memory.current": `${used * MIB_BYTES}\n`, "memory.reclaim": "", "memory.max": `${limit}\n` },
  "memory.stat": `anon 1\ninactive_file ${kept * MIB_BYTES}\nactive_file 0\nslab_reclaimable 0\n`,
})

test("less memory than is used is refused before the kernel gives anything back, with what would be taken", () => {
  const path = cgroupOf(memory(300.5, 100))
  const needs = (bytes: number) => within(path, (cgroup) => requireMemory(cgroup, bytes, { ownBytes: 0 }))
  const hint = (work: () => void) => {
    try {
      work()
    } catch (error) {
      return /it can have (\d+)M or more/.exec((error as { hint: string }).hint)?.[1]
    }
    return undefined
  }
  expect(() => needs(200 * MIB_BYTES)).toThrow(failure("IN_USE", "limits.memory=200M: web uses 200.5M"))
  // The size that the hint names is taken.
  const named = Number(hint(() => needs(200 * MIB_BYTES)))
  expect(named).toBe(201)
  needs(named * MIB_BYTES)
  expect(readFileSync(join(path, "memory.reclaim"), "utf8")).toBe("")
  for (const used of [1025.1, 1349.9, 1350.01, 4095.5]) {
    const other = cgroupOf(memory(used))
    const room = (bytes: number) => within(other, (cgroup) => requireMemory(cgroup, bytes, { ownBytes: 0 }))
    room(Number(hint(() => room(MIB_BYTES))) * MIB_BYTES)
  }
})

test("room is made for a lower limit, as far as the kernel can", () => {
  const path = cgroupOf(memory(300))
  expect(() => within(path, (cgroup) => makeRoom(cgroup, 299 * MIB_BYTES))).toThrow(
    failure("IN_USE", "limits.memory=299M: web uses 300M"),
  )
  expect(readFileSync(join(path, "memory.reclaim"), "utf8")).toBe(String(MIB_BYTES))
  within(path, (cgroup) => makeRoom(cgroup, 300 * MIB_BYTES))
})

test("memory that is not counted in the cgroup is told of; where there is a limit already, it is counted", () => {
  const own = (path: string, mebibytes: number) =>
    within(path, (cgroup) => requireMemory(cgroup, 1024 * MIB_BYTES, { ownBytes: mebibytes * MIB_BYTES }))
  own(cgroupOf(memory(300)), 301)
  expect(() => own(cgroupOf(memory(300)), 302)).toThrow(failure("UNSUPPORTED", "is not counted in its cgroup"))
  // Another process's cgroup may have what it shares with the VMM.
  own(cgroupOf(memory(300, 0, "536870912")), 400)
  expect(() => own(cgroupOf({ ...memory(0), "memory.current": "" }), 0)).toThrow("is not counted")
})

test("fewer threads than there are is refused", () => {
  const path = cgroupOf({ "cgroup.threads": "10\n11\n12\n" })
  within(path, (cgroup) => requireThreads(cgroup, 3))
  expect(() => within(path, (cgroup) => requireThreads(cgroup, 2))).toThrow(
    failure("IN_USE", "limits.pids=2: web has 3 threads and processes"),
  )
})

test("limits are written by the cgroup's descriptor; one that has gone says so", () => {
  const path = cgroupOf({ "pids.max": "", "cpu.max": "" })
  within(path, (cgroup) =>
    changeLimits(cgroup, [
      ["pids.max", "200"],
      ["cpu.max", "max"],
    ]),
  )
  expect(readFileSync(join(path, "pids.max"), "utf8")).toBe("200")
  expect(readFileSync(join(path, "cpu.max"), "utf8")).toBe("max")
})

test("a cgroup that has gone says so, whatever was to be done to it", () => {
  const gone = failure("WRONG_STATE", "the cgroup of web has gone")
  expect(() => within(join(directory.path, "gone"), () => {})).toThrow(gone)
  const path = cgroupOf({})
  rmSync(join(path, "cgroup.events"))
  for (const work of [
    (cgroup: RunningCgroup) => changeLimits(cgroup, [["pids.max", "1"]]),
    (cgroup: RunningCgroup) => requireMemory(cgroup, MIB_BYTES, { ownBytes: 0 }),
    (cgroup: RunningCgroup) => requireThreads(cgroup, 1),
  ])
    expect(() => within(path, work)).toThrow(gone)
  expect(existsSync(join(directory.path, "cgroup.subtree_control"))).toBe(false)
})

test("what only lifts a limit switches no controller on, and what sets one does", () => {
  const control = join(directory.path, "cgroup.subtree_control")
  const path = cgroupOf({ "pids.max": "5" })
  for (const one of [control, join(directory.path, "banger/cgroup.subtree_control")]) writeFileSync(one, "")
  const lifting = [
    ["cpu.max", "max"],
    ["io.max", "8:0 rbps=max wiops=max"],
    ["pids.max", "max"],
  ] as const
  expect(lifting.map(lifts)).toEqual([true, true, true])
  expect(lifts(["io.max", "8:0 rbps=max wiops=5"])).toBe(false)
  within(path, (cgroup) => changeLimits(cgroup, lifting))
  expect([readFileSync(join(path, "pids.max"), "utf8"), readFileSync(control, "utf8")]).toEqual(["max", ""])
  expect(() => within(path, (cgroup) => changeLimits(cgroup, [["cpu.max", "5 100000"]]))).toThrow("cpu.max 5 100000")
  expect(readFileSync(control, "utf8")).toBe("+cpu")
})

test("the first limit that is refused is told, whatever becomes of putting the others back", () => {
  const path = cgroupOf({ "cpu.max": "50000 100000", "pids.max": "7", "io.max": "8:0 rbps=5" })
  const change = (...errors: readonly number[]) => {
    let writes = 0
    interpose({ before: (call) => (call === "write" ? (errors[writes++] ?? 0) : 0) })
    try {
      within(path, (cgroup) =>
        changeLimits(cgroup, [
          ["cpu.max", "70000 100000"],
          ["pids.max", "8"],
          ["io.max", "8:0 rbps=6"],
        ]),
      )
    } finally {
      interpose(undefined)
    }
  }
  const { EINVAL, EIO } = constants.errno
  expect(() => change(0, 0, EINVAL, EIO)).toThrow(
    failure("HOST_LACKS", "limits: the kernel does not take io.max 8:0 rbps=6; pids.max could not be put back"),
  )
  expect(["cpu.max", "pids.max"].map((name) => readFileSync(join(path, name), "utf8"))).toEqual(["50000 100000", "8"])
})
