import { expect, test } from "bun:test"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import {
  changeLimits,
  limitsAt,
  parseIoMax,
  requireRoom,
  requireThreads,
  withRunningCgroup,
} from "../../../src/host/cgroup/change.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const MIB_BYTES = 1024 * 1024

/** Files in the place of a cgroup's; the kernel's own are tried in a guest (run.inGuest.test.ts). */
function cgroupOf(files: Readonly<Record<string, string>>): string {
  const path = join(directory.path, "banger/vm-1")
  mkdirSync(path, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text)
  return path
}
function within<T>(path: string, use: (cgroup: Parameters<typeof changeLimits>[0]) => T): T {
  const of = { name: "web", id: "vm-1" }
  return withRunningCgroup({ ...of, path }, (dir) => use({ ...of, mount: directory.path, dir }))
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

test("less memory than is used is refused, after what can be given back was; and so is what is not counted", () => {
  const path = cgroupOf({ "memory.current": `${300 * MIB_BYTES}\n`, "memory.reclaim": "" })
  const room = (mebibytes: number, anonymous: number) =>
    within(path, (cgroup) => requireRoom(cgroup, mebibytes * MIB_BYTES, { anonymousBytes: anonymous * MIB_BYTES }))
  expect(() => room(299, 200)).toThrow(failure("IN_USE", "limits.memory=299M: web uses 300M"))
  expect(readFileSync(join(path, "memory.reclaim"), "utf8")).toBe(String(MIB_BYTES))
  room(300, 300)
  room(300, 301)
  expect(() => room(1024, 302)).toThrow(failure("UNSUPPORTED", "is not counted in its cgroup"))
  const off = cgroupOf({})
  writeFileSync(join(off, "memory.current"), "")
  expect(() => within(join(off, ".."), (c) => requireRoom(c, 1, { anonymousBytes: 0 }))).toThrow("is not counted")
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
  expect(() => within(join(path, "gone"), () => {})).toThrow(failure("WRONG_STATE", "the cgroup of web has gone"))
})
