import { expect, test } from "bun:test"
import { Failure } from "../../../src/base/terms/failure.ts"
import type { Api } from "../../../src/host/firecracker/api.ts"
import { grant } from "../../../src/supervisor/changes/grant.ts"
import type { Wishes } from "../../../src/supervisor/changes/sizes.ts"

const BOOT = { drives: [], "machine-config": { mem_size_mib: 256 } }
const HOTPLUG = { "memory-hotplug": { total_size_mib: 1024, block_size_mib: 2 } }
const BALLOON = { balloon: {} }

/** Asks a Firecracker that has this; returns the changes that it was asked for, and the failure, if any. */
async function asked(has: object, wishes: Wishes, refusal?: Failure) {
  const changes: unknown[] = []
  const api: Api = {
    async request({ method, path, body }) {
      if (method === "GET") return { ...BOOT, ...has } as never
      if (refusal !== undefined) throw refusal
      changes.push([path, body])
      return undefined as never
    },
    requestAll: () => Promise.reject(new Error("one at a time")),
  }
  try {
    const vm = { name: "web", vmm: "firecracker", pid: process.pid, cgroup: undefined, limitBytes: undefined }
    await grant({ ...vm, api, guestMiB: async () => 256 }, wishes)
    return { changes }
  } catch (error) {
    const { code, message, hint } = error as Failure
    return { changes, failure: [code, message, hint ?? ""] }
  }
}

test("memory is what was booted with and what is plugged in; the balloon is itself", async () => {
  expect(await asked({ ...HOTPLUG, ...BALLOON }, { memory: 768, balloon: 64 })).toEqual({
    changes: [
      ["/hotplug/memory", { requested_size_mib: 512 }],
      ["/balloon", { amount_mib: 64 }],
    ],
  })
  expect(await asked(HOTPLUG, { memory: 256 })).toEqual({ changes: [["/hotplug/memory", { requested_size_mib: 0 }]] })
  expect(await asked(HOTPLUG, { memory: 1280 })).toEqual({
    changes: [["/hotplug/memory", { requested_size_mib: 1024 }]],
  })
  expect(await asked(BALLOON, { balloon: 0 })).toEqual({ changes: [["/balloon", { amount_mib: 0 }]] })
})

test("what the VM cannot have is refused by its word, with what it can have; then nothing changes", async () => {
  const range = "it can have 256M to 1280M, in steps of 2M"
  const refusals: [object, Wishes, string[]][] = [
    [HOTPLUG, { memory: 255 }, ["USAGE", "memory=255M: less than web can have", range]],
    [HOTPLUG, { memory: 1282 }, ["USAGE", "memory=1282M: more than web can have", range]],
    [HOTPLUG, { memory: 257 }, ["USAGE", "memory=257M: between two sizes that web can have", range]],
    [
      {},
      { memory: 512 },
      [
        "UNSUPPORTED",
        "memory=512M: web has 256M, to which none can be plugged in",
        "firecracker.memory_hotplug in the plugin lets it grow",
      ],
    ],
    [
      { balloon: null },
      { balloon: 1 },
      ["UNSUPPORTED", "balloon=1M: web has no balloon", "firecracker.balloon in the plugin gives it one"],
    ],
    [
      { ...BALLOON, ...HOTPLUG },
      { memory: 512, balloon: 257 },
      ["USAGE", "balloon=257M: more than the memory that web was booted with", "the balloon can take up to 256M"],
    ],
  ]
  for (const [has, wishes, failure] of refusals) expect(await asked(has, wishes)).toEqual({ changes: [], failure })
})

test("a guest without a driver is told of", async () => {
  const refusal = new Failure("VM_FAILED", "balloon: Firecracker refused it: Balloon: Device not activated yet.")
  expect(await asked(BALLOON, { balloon: 1 }, refusal)).toEqual({
    changes: [],
    failure: ["VM_FAILED", `balloon=1M: ${refusal.message}`, "the guest has no driver for it, or not yet"],
  })
})
