import { afterEach, expect, test } from "bun:test"
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describeReal, pairs } from "../real.ts"
import { banger, type Ended, fixture } from "./support/banger.ts"
import { doublesOfFile, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace, records } from "./support/place.ts"

const doubles = doublesOfFile()
const place = eachInItsPlace()
const both = pairs(doubles)

const MIB_BYTES = 1024 * 1024

/** Runs a VM in the background whose guest waits for Ctrl-Alt-Del. */
function run(env: object, fields: object): Promise<Ended> {
  const kernel = kernelOf(place.dir)
  return banger(place, ["run", "-d", fixture("double"), "--", place.dir, kernel, JSON.stringify(fields)], { ...env })
}

/** What inspect tells of a VM that was run with these settings; it is stopped then, and has ended well. */
async function looked(env: object, fields: object) {
  expect(await run(env, fields)).toMatchObject({ stdout: "double\n", exit: 0 })
  const inspected = JSON.parse((await banger(place, ["inspect", "double"], { ...env })).stdout)
  const pid: number = inspected.pid
  const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
  const root = readFileSync(`/proc/${pid}/status`, "utf8")
  expect(root).toContain("Name:\tfirecracker")
  const jail = join(place.state, "jail/firecracker", inspected.id, "root")
  const sizes = Object.fromEntries(
    ["pmem0", "pmem1"].map((name) => [
      name,
      existsSync(join(jail, name)) ? statSync(join(jail, name)).size : undefined,
    ]),
  )
  expect(await banger(place, ["stop", "double"], { ...env })).toMatchObject({ exit: 0 })
  return { ...inspected, argv, sizes }
}

/** Of a running VM Firecracker lists devices in any order. */
function byId<Device extends object>(devices: readonly Device[]): readonly Device[] {
  return devices.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)))
}

function file(name: string, bytes: number): string {
  const path = join(place.dir, name)
  writeFileSync(path, "x".repeat(bytes))
  return path
}

let backend: ReturnType<typeof Bun.listen> | undefined
afterEach(() => {
  backend?.stop(true)
  backend = undefined
})

/** The socket of a program that speaks as much of vhost-user as is asked before the guest has a driver. */
function vhostBackend(mode: number): string {
  const path = join(place.dir, "backend.sock")
  const answers: Record<number, Buffer> = { 1: u64(0x1_4000_0000n), 15: u64(0x200n) }
  backend = Bun.listen({
    unix: path,
    socket: {
      data(socket, bytes) {
        for (let at = 0; at + 12 <= bytes.length; ) {
          const [request, size] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 8)]
          const body = bytes.subarray(at + 12, at + 12 + size)
          // GET_CONFIG is answered by what was asked, with a disk of 8 sectors.
          if (request === 24) body.writeBigUInt64LE(8n, 12)
          const said = request === 24 ? body : answers[request]
          if (said !== undefined) socket.write(Buffer.concat([u32(request), u32(5), u32(said.length), said]))
          at += 12 + size
        }
      },
    },
  })
  chmodSync(path, mode)
  return path
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes
}

const BUCKET = { size: 1000, refill_time: 100 }
const SHOWN_BUCKET = { ...BUCKET, one_time_burst: null }
/** Capability 171 is one that Firecracker looks for by itself: here it does without. */
const CPU_CONFIG = {
  kvm_capabilities: ["!171"],
  cpuid_modifiers: [
    { leaf: "0x1", subleaf: "0x0", flags: 0, modifiers: [{ register: "ecx", bitmap: `0b${"x".repeat(31)}1` }] },
  ],
}

/** Each setting by itself, what Firecracker then says of it, and what was on the command line. */
const ALONE: readonly (readonly [settings: Record<string, unknown>, shown: object])[] = [
  [{ machine: { smt: false, track_dirty_pages: true } }, { "machine-config": { track_dirty_pages: true } }],
  // What a configuration was, Firecracker does not say.
  [{ cpu_config: CPU_CONFIG }, {}],
  [{ pci: true }, {}],
  [
    { memory_hotplug: { total_size_mib: 512, block_size_mib: 4, slot_size_mib: 256 } },
    { "memory-hotplug": { total_size_mib: 512, block_size_mib: 4, slot_size_mib: 256 } },
  ],
  [{ balloon: { amount_mib: 4, deflate_on_oom: true } }, { balloon: { amount_mib: 4, deflate_on_oom: true } }],
  [
    { balloon: { amount_mib: 0, deflate_on_oom: false, free_page_hinting: true, free_page_reporting: true } },
    { balloon: { deflate_on_oom: false, free_page_hinting: true, free_page_reporting: true } },
  ],
  [{ vsock: { guest_cid: 7 } }, { vsock: { guest_cid: 7 } }],
  [
    { entropy: { rate_limiter: { bandwidth: BUCKET } } },
    { entropy: { rate_limiter: { bandwidth: SHOWN_BUCKET, ops: null } } },
  ],
  [{ logger: { level: "Info", show_level: true } }, {}],
  [{ metrics: true }, {}],
  [{ serial: { rate_limiter: { size: 1_000_000, refill_time: 10 } } }, {}],
  [{ resource_limit: { "no-file": 4096 } }, {}],
]

for (const [which, pair] of both) {
  test.each(ALONE)(`alone, in a jail and bare: %j (${which})`, async (settings, shown) => {
    for (const jail of [true, false]) {
      const bare = { ...settings, resource_limit: jail ? settings.resource_limit : undefined }
      const { vmmConfig, vmmWhy, argv } = await looked(pair.env, { jail, firecracker: bare })
      expect(vmmWhy).toBeUndefined()
      expect(vmmConfig).toMatchObject(shown)
      expect(argv.includes("--enable-pci")).toBe(settings.pci === true)
    }
  })

  test(`a memory in a jail is a private, padded copy, or bound to be read (${which})`, async () => {
    const [odd, only] = [file("odd.img", MIB_BYTES + 1), file("only.img", MIB_BYTES)]
    const pmem = [
      { id: "odd", path: odd, rate_limiter: { ops: BUCKET } },
      { id: "only", path: only, read_only: true },
    ]
    const { vmmConfig, sizes } = await looked(pair.env, { firecracker: { pmem } })
    expect(byId(vmmConfig.pmem)).toMatchObject([
      { id: "odd", path_on_host: "/pmem0", read_only: false, root_device: false },
      { id: "only", path_on_host: "/pmem1", read_only: true },
    ])
    expect(sizes).toEqual({ pmem0: 2 * MIB_BYTES, pmem1: MIB_BYTES })
    expect([statSync(odd).size, statSync(only).size]).toEqual([MIB_BYTES + 1, MIB_BYTES])
  })

  test(`a program's disk is reached in a jail and bare, and a VM with one is not saved (${which})`, async () => {
    const socket = vhostBackend(0o666)
    const vhost_user = [{ id: "far", socket, cache_type: "Writeback" }]
    for (const jail of [true, false]) {
      expect(await run(pair.env, { jail, firecracker: { vhost_user } })).toMatchObject({ exit: 0 })
      const { vmmConfig } = JSON.parse((await banger(place, ["inspect", "double"], { ...pair.env })).stdout)
      const shown = { drive_id: "far", socket: jail ? "/vhost0.sock" : socket, path_on_host: null }
      expect(vmmConfig.drives).toMatchObject([{ ...shown, cache_type: "Writeback", is_read_only: null }])
      const saved = await banger(place, ["snapshot", "double", join(place.dir, "saved")], { ...pair.env })
      expect(saved).toMatchObject({ exit: 2, stderr: expect.stringContaining("firecracker.vhost_user: a VM with it") })
      expect(await banger(place, ["stop", "double"], { ...pair.env })).toMatchObject({ exit: 0 })
    }
    expect(statSync(socket)).toMatchObject({ uid: 0, gid: 0 })
    expect(statSync(socket).mode & 0o777).toBe(0o666)
  })

  test(`all that go together, together (${which})`, async () => {
    const firecracker = {
      machine: { track_dirty_pages: true },
      cpu_config: CPU_CONFIG,
      pci: true,
      memory_hotplug: { total_size_mib: 256 },
      pmem: [{ id: "p", path: file("memory.img", 2 * MIB_BYTES), root_device: true }],
      vhost_user: [{ id: "far", socket: vhostBackend(0o666) }],
      drives: { disk0: { io_engine: "Async", cache_type: "Writeback", rate_limiter: { ops: BUCKET } } },
      vsock: { guest_cid: 9 },
      entropy: {},
      balloon: { amount_mib: 2, deflate_on_oom: true, stats_polling_interval_s: 1, free_page_reporting: true },
      logger: { level: "Warning" },
      metrics: true,
      serial: { rate_limiter: { size: 1_000_000, refill_time: 10 } },
      resource_limit: { "no-file": 4096 },
    }
    const { vmmConfig, balloonStatistics, memoryHotplug, vmmWhy } = await looked(pair.env, {
      ...{ vcpus: 2, memory: "128M", drives: [{ path: file("disk.img", 4096) }], firecracker },
    })
    expect(vmmWhy).toBeUndefined()
    expect({ ...vmmConfig, drives: byId(vmmConfig.drives) }).toMatchObject({
      balloon: { amount_mib: 2, stats_polling_interval_s: 1 },
      drives: [{ drive_id: "disk0", io_engine: "Async", cache_type: "Writeback" }, { drive_id: "far" }],
      "machine-config": { vcpu_count: 2, mem_size_mib: 128, track_dirty_pages: true },
      "memory-hotplug": { total_size_mib: 256 },
      pmem: [{ id: "p", root_device: true }],
      vsock: { guest_cid: 9 },
      entropy: { rate_limiter: null },
    })
    expect(balloonStatistics).toMatchObject({ target_mib: 2 })
    expect(memoryHotplug).toMatchObject({ total_size_mib: 256, plugged_size_mib: 0 })
  })
}

// The double has no processor to look at.
describeReal("settings that show at the start alone", (real) => {
  test("what KVM lacks is refused by its name, and nothing is left", async () => {
    const refused = await run(real.env, { firecracker: { cpu_config: { kvm_capabilities: ["99999"] } } })
    expect(refused.exit).toBe(1)
    expect(refused.stderr).toContain("firecracker.cpu_config: Firecracker refused it: ")
    expect(refused.stderr).toContain("Missing KVM capabilities: 0x1869f")
  })
})

/** What is refused before anything is made. */
const BAD: readonly (readonly [fields: object, words: string])[] = [
  [{ firecracker: { pci: true }, bootArgs: "console=ttyS0 pci=off" }, "firecracker.pci: bootArgs say pci=off"],
  [{ firecracker: { pci: 1 } }, "firecracker.pci"],
  [{ firecracker: { machine: { cpu_template: "T3" } } }, "firecracker.machine.cpu_template"],
  [{ firecracker: { machine: { cpu_template: "V1N1" } } }, "firecracker.machine.cpu_template: V1N1 is for arm64"],
  [{ firecracker: { cpu_config: { vcpu_features: [] } } }, "firecracker.cpu_config.vcpu_features: is for arm64 alone"],
  [{ firecracker: { cpu_config: { msr_modifiers: [{ addr: "1", bitmap: "0b1" }] } } }, "msr_modifiers"],
  [
    { firecracker: { memory_hotplug: { total_size_mib: 200 } } },
    "memory_hotplug.total_size_mib: 200 is not a multiple",
  ],
  [{ firecracker: { balloon: { amount_mib: 300, deflate_on_oom: true } } }, "firecracker.balloon.amount_mib: 300"],
  [{ firecracker: { pmem: [{ id: "p", path: "/nope" }] } }, "firecracker.pmem[0].path: there is no /nope"],
  [{ firecracker: { pmem: [{ id: "p", path: "/dev/null" }] } }, "firecracker.pmem[0].path: /dev/null is not a regular"],
  [{ firecracker: { vhost_user: [{ id: "v", socket: "/dev/null" }] } }, "/dev/null is not a socket"],
  [{ firecracker: { vhost_user: [{ id: "v", socket: "/nope" }] } }, "vhost_user[0].socket: there is no /nope"],
]

test.each(BAD)("before anything is made %j is refused: %s", async (fields, words) => {
  const { stderr, exit } = await run(doubles.env, fields)
  expect({ exit, stderr }).toEqual({ exit: 2, stderr: expect.stringContaining(words) })
  expect(records(place)).toEqual([])
})

test("a socket that the jail's uid may not write to is refused", async () => {
  const socket = vhostBackend(0o600)
  const firecracker = { vhost_user: [{ id: "v", socket }] }
  const { stderr, exit } = await run(doubles.env, { firecracker })
  expect({ exit, stderr }).toEqual({ exit: 2, stderr: expect.stringContaining("may not write to it") })
  expect(stderr).toContain("firecracker.vhost_user[0].socket: ")
  expect(records(place)).toEqual([])
})
