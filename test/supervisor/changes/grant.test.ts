import { expect, test } from "bun:test"
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Failure } from "../../../src/base/terms/failure.ts"
import { openRunningCgroup } from "../../../src/host/cgroup/change.ts"
import type { Api } from "../../../src/host/firecracker/api.ts"
import type { LimitWishes } from "../../../src/inputs/schema/limitWords.ts"
import { grant } from "../../../src/supervisor/changes/grant.ts"
import type { Wishes } from "../../../src/supervisor/changes/sizes.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"

// Files are in the place of a cgroup's, and a Firecracker that answers at once.

const directory = eachInItsDirectory()
const MIB_BYTES = 1024 * 1024
const path = () => join(directory.path, "banger/vm-1")
const file = (name: string) => readFileSync(join(path(), name), "utf8").trim()

interface Has {
  readonly limit: number | "max"
  /** What the guest was asked to have beyond its 256M. */
  readonly plugged?: number
  readonly refuse?: RegExp
  readonly files?: Readonly<Record<string, string>>
  readonly vmm?: string
}

/** Grants wishes to a VM with 256M; tells what Firecracker was asked for and the failure, if any, with the limits then. */
async function granted(has: Has, wishes: Wishes & { readonly limits?: LimitWishes }) {
  const { limit, plugged = 0, refuse, vmm = "firecracker" } = has
  rmSync(path(), { recursive: true, force: true })
  mkdirSync(path(), { recursive: true })
  writeFileSync(join(directory.path, "cgroup.controllers"), "cpu memory pids")
  const used = { "memory.current": `${300 * MIB_BYTES}`, "memory.stat": `active_file ${100 * MIB_BYTES}` }
  const all = {
    ...{
      "cgroup.events": "populated 1",
      "cgroup.threads": "10\n11\n12",
      "memory.reclaim": "",
      "cpu.max": "25000 100000",
    },
    ...{ ...used, "memory.max": limit === "max" ? limit : `${limit * MIB_BYTES}`, "pids.max": "max", ...has.files },
  }
  for (const [name, text] of Object.entries(all)) writeFileSync(join(path(), name), text)
  const asked: unknown[] = []
  const api: Api = {
    requestAll: () => Promise.reject(new Error("one at a time")),
    async request({ method, path: what, body }) {
      if (method === "GET" && what === "/hotplug/memory")
        return { requested_size_mib: plugged, plugged_size_mib: plugged } as never
      const hotplug = { "memory-hotplug": { total_size_mib: 1024, block_size_mib: 2 }, balloon: { amount_mib: 8 } }
      if (method === "GET") return { drives: [], "machine-config": { mem_size_mib: 256 }, ...hotplug } as never
      asked.push([what, ...Object.values(body ?? {}), `limit ${Number(file("memory.max")) / MIB_BYTES}`])
      if (refuse?.test(JSON.stringify([what, body])) === true) throw new Failure("VM_FAILED", `${what}: not active`)
      return undefined as never
    },
  }
  using cgroup = openRunningCgroup({ name: "web", id: "vm-1", mount: directory.path, path: path() })
  const limitBytes = limit === "max" ? null : limit * MIB_BYTES
  const vm = { name: "web", vmm, pid: 2 ** 22 + 1, api, cgroup, limitBytes, guestMiB: async () => 256 + plugged }
  try {
    await grant(vm, wishes)
    return { asked }
  } catch (error) {
    return { asked, error: error as Failure }
  }
}
const M = (mebibytes: number) => mebibytes * MIB_BYTES

test("a limit that rises does so before the memory, one that falls after it", async () => {
  expect(await granted({ limit: 400 }, { memory: 512, limits: { memory: M(600) } })).toEqual({
    asked: [["/hotplug/memory", 256, "limit 600"]],
  })
  expect(file("memory.max")).toBe(`${M(600)}`)
  expect(await granted({ limit: 900 }, { memory: 256, limits: { memory: M(500) } })).toEqual({
    asked: [["/hotplug/memory", 0, "limit 900"]],
  })
  expect(file("memory.max")).toBe(`${M(500)}`)
  expect((await granted({ limit: "max" }, { memory: 512, limits: { memory: M(600) } })).asked).toEqual([
    ["/hotplug/memory", 256, "limit NaN"],
  ])
  expect((await granted({ limit: 400 }, { memory: 512, limits: { memory: null } })).asked).toEqual([
    ["/hotplug/memory", 256, "limit NaN"],
  ])
})

test("a guest that is asked to have less has what it has until then: its limit cannot fall below that with it", async () => {
  const both = await granted({ limit: 900, plugged: 256 }, { memory: 256, limits: { memory: M(400) } })
  expect(both.error).toMatchObject(
    failure("USAGE", "limits.memory=400M: the VMM of web may use 400M, and needs more than the 512M of its guest"),
  )
  expect([both.asked, file("memory.max")]).toEqual([[], `${M(900)}`])
  const larger = await granted({ limit: 400 }, { memory: 512 })
  expect(larger.error?.message).toStartWith("memory=512M: the VMM of web may use 400M")
  expect(larger.asked).toEqual([])
})

test("what is refused leaves the limits, and what was granted before it, as they were", async () => {
  const limits = { memory: M(600), cpus: 0.5, pids: 100 }
  const memory = await granted({ limit: 400, refuse: /hotplug/ }, { memory: 512, limits })
  expect(memory.error).toMatchObject({ code: "VM_FAILED", hint: "the guest has no driver for it, or not yet" })
  expect(memory.asked).toEqual([["/hotplug/memory", 256, "limit 600"]])
  expect([file("memory.max"), file("cpu.max"), file("pids.max")]).toEqual([`${M(400)}`, "25000 100000", "max"])
  const balloon = await granted({ limit: 400, plugged: 2, refuse: /balloon/ }, { memory: 300, balloon: 64 })
  expect(balloon.asked).toEqual([
    ["/hotplug/memory", 44, "limit 400"],
    ["/balloon", 64, "limit 400"],
    ["/hotplug/memory", 2, "limit 400"],
  ])
  // What could not be put back is told, after what was the reason.
  const stuck = await granted({ limit: 400, plugged: 2, refuse: /balloon|:2}/ }, { memory: 300, balloon: 64 })
  expect(stuck.error?.message).toBe("balloon=64M: /balloon: not active; memory=300M could not be put back")
})

test("all refusals come before the first change, also before the kernel gives memory back", async () => {
  const limits = { memory: M(280) }
  for (const [has, wishes] of [
    [{ limit: 400 }, { limits: { ...limits, pids: 2 } }],
    [{ limit: 400 }, { limits, memory: 255 }],
    [{ limit: 400 }, { limits, balloon: 257 }],
    [{ limit: 400 }, { limits: { ...limits, io: [{ device: "/dev/null", readOps: 1 }] } }],
    // None of it can be given back.
    [{ limit: 400, files: { "memory.stat": "active_file 0" } }, { limits }],
  ] as const) {
    const refused = await granted(has, wishes)
    expect(refused.error).toBeInstanceOf(Failure)
    expect([refused.asked, file("memory.reclaim"), file("memory.max")]).toEqual([[], "", `${M(400)}`])
  }
  // Files give nothing back: that is the last refusal.
  const stuck = await granted({ limit: 400 }, { limits, balloon: 64 })
  expect(stuck.error).toMatchObject({ code: "IN_USE", message: "limits.memory=280M: web uses 300M" })
  expect([stuck.asked, file("memory.reclaim")]).toEqual([[], `${M(20)}`])
})

test("QEMU's threads come as its drives need them: it keeps room for them", async () => {
  const { error } = await granted({ limit: "max", vmm: "qemu" }, { limits: { pids: 66 } })
  expect(error).toMatchObject(
    failure("IN_USE", "limits.pids=66: web has 3 threads and processes, and its VMM starts up to 64 more"),
  )
  expect(error?.hint).toBe("it can have 67 or more")
  expect((await granted({ limit: "max", vmm: "qemu" }, { limits: { pids: 67 } })).error).toBeUndefined()
  expect((await granted({ limit: "max" }, { limits: { pids: 3 } })).error).toBeUndefined()
})
