import { expect, test } from "bun:test"
import { cgroupMount, cgroupPath, controllersOf, isEmpty } from "../../../src/host/cgroup/cgroup.ts"
import { cgroupSettings } from "../../../src/host/cgroup/limits.ts"

test("limits become the settings of a cgroup", () => {
  const io = [{ device: "8:0", readBytes: 1000, writeOps: 5 }, { device: "8:16" }]
  expect(cgroupSettings({ memory: 1024, cpus: 1.5, pids: 20, io })).toEqual([
    ["memory.max", "1024"],
    ["cpu.max", "150000 100000"],
    ["pids.max", "20"],
    ["io.max", "8:0 rbps=1000 wiops=5"],
    ["io.max", "8:16"],
  ])
  const lifted = [{ device: "8:0", readBytes: null, writeOps: 5 }]
  expect(cgroupSettings({ memory: null, cpus: null, pids: null, io: lifted })).toEqual([
    ["memory.max", "max"],
    ["cpu.max", "max"],
    ["pids.max", "max"],
    ["io.max", "8:0 rbps=max wiops=5"],
  ])
  expect(cgroupSettings({})).toEqual([])
  expect(controllersOf(cgroupSettings({ memory: 1, io }))).toEqual(["memory", "io"])
})

test("cgroup v2 is found where it is mounted, also beside v1", () => {
  const v1 = "41 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
  const v2 = "42 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n"
  expect(cgroupMount(v1 + v2)).toBe("/sys/fs/cgroup/unified")
  expect(cgroupMount(v1)).toBeUndefined()
  expect(cgroupPath("/sys/fs/cgroup", "vm-1")).toBe("/sys/fs/cgroup/banger/vm-1")
})

test("a cgroup is empty only when it says so", () => {
  expect(isEmpty("populated 0\nfrozen 0\n")).toBe(true)
  expect(isEmpty("populated 1\nfrozen 0\n")).toBe(false)
  expect(isEmpty("")).toBe(false)
})
