import { expect, test } from "bun:test"
import { join } from "node:path"
import type { FirecrackerSettings } from "banger"
import { type HostPath, hostPath, jailPath } from "../../../src/base/terms/path.ts"
import { type ApiRequest, faultOf, openApi } from "../../../src/host/firecracker/api.ts"
import { bareArgv, jailerArgv } from "../../../src/host/firecracker/argv.ts"
import { requireBody } from "../../../src/host/firecracker/bodies.ts"
import { requireDrives, requireNeeds } from "../../../src/host/firecracker/bounds.ts"
import { balloonRequest, devicesOf, memoryRequest } from "../../../src/host/firecracker/devices.ts"
import { exitReason, firecracker } from "../../../src/host/firecracker/firecracker.ts"
import { saysHalted } from "../../../src/host/firecracker/halted.ts"
import { BALLOON_STATISTICS, CONFIGURATION, INSTANCE } from "../../../src/host/firecracker/replies.ts"
import {
  actingRequests,
  CTRL_ALT_DEL,
  PAUSE,
  RESUME,
  settingRequests,
  snapshotRequest,
} from "../../../src/host/firecracker/requests.ts"
import {
  knownBad,
  parseRelease,
  requireKnown,
  requireOnBase,
  requireSupported,
} from "../../../src/host/firecracker/version.ts"
import { failure } from "../../failure.ts"
import { eachInItsDirectory } from "../../temporary.ts"
import { BOOT, FILES } from "./boot.ts"

const directory = eachInItsDirectory()

/** All requests of a start, in their order. */
const startRequests = (boot: typeof BOOT, files: typeof FILES, release?: Parameters<typeof actingRequests>[1]) => [
  ...settingRequests(boot, files),
  ...actingRequests(boot, release),
]

test("a boot becomes the requests of Firecracker's API, in its order", () => {
  const settings: FirecrackerSettings = {
    machine: { smt: false },
    drives: { disk0: { io_engine: "Async" } },
    vsock: { guest_cid: 3 },
    entropy: {},
    balloon: { amount_mib: 0, deflate_on_oom: true },
  }
  const requests = settingRequests({ ...BOOT, firecracker: settings }, FILES)
  expect(requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
    "PUT /machine-config",
    "PUT /boot-source",
    "PUT /drives/disk1",
    "PUT /drives/disk0",
    "PUT /vsock",
    "PUT /entropy",
    "PUT /balloon",
  ])
  expect(requests.map(({ body }) => body)).toEqual([
    { vcpu_count: 2, mem_size_mib: 512, smt: false },
    { kernel_image_path: "/kernel", boot_args: "quiet", initrd_path: "/initrd" },
    { drive_id: "disk1", path_on_host: "/disk1", is_root_device: true, is_read_only: true },
    {
      drive_id: "disk0",
      path_on_host: "/disk0",
      is_root_device: false,
      is_read_only: false,
      io_engine: "Async",
    },
    { guest_cid: 3, uds_path: "/vsock.sock" },
    {},
    { amount_mib: 0, deflate_on_oom: true },
  ])
  expect(settingRequests({ ...BOOT, initrd: undefined, disks: [] }, FILES)).toHaveLength(2)
})

test("a boot ends with its start; one that goes on from a snapshot is loaded, and only then runs", () => {
  expect(startRequests(BOOT, FILES).at(-1)?.body).toEqual({ action_type: "InstanceStart" })
  const files = { state: jailPath("/s"), memory: jailPath("/m") }
  expect(startRequests({ ...BOOT, restore: files }, FILES)).toEqual([
    {
      ...{ method: "PUT", path: "/snapshot/load", setting: "restore" },
      body: { snapshot_path: "/s", mem_backend: { backend_type: "File", backend_path: "/m" } },
    },
    { method: "PATCH", path: "/vm", setting: "restore", body: { state: "Resumed" } },
  ])
  expect(snapshotRequest(files).body).toEqual({ snapshot_type: "Full", snapshot_path: "/s", mem_file_path: "/m" })
})

test("the jailer is given name and value as two words, and a network namespace only where there is one", () => {
  const launch = {
    ...{
      jailer: "/bin/jailer",
      executable: "/bin/firecracker",
      id: "vm-1",
      base: hostPath("/s/jail"),
      netns: undefined,
      pci: false,
    },
    confinement: { root: hostPath("/r"), uid: 7, gid: 8 },
  }
  expect(jailerArgv(launch).join(" ")).toBe(
    "/bin/jailer --id vm-1 --exec-file /bin/firecracker --uid 7 --gid 8 --chroot-base-dir /s/jail " +
      "-- --api-sock /api.sock --log-path /firecracker.log --level Warn",
  )
  expect(jailerArgv({ ...launch, netns: "/run/netns/a" }).join(" ")).toContain("--netns /run/netns/a --")
  expect(jailerArgv({ ...launch, limits: { fsize: 1000, "no-file": 64 } }).join(" ")).toContain(
    "--resource-limit fsize=1000 --resource-limit no-file=64 -- --api-sock",
  )
  expect(jailerArgv({ ...launch, pci: true }).at(-1)).toBe("--enable-pci")
  const bare = { executable: "/f", id: "vm-1", runtime: hostPath("/r/vm-1"), log: hostPath("/s/vm-1/firecracker.log") }
  expect(bareArgv({ ...bare, pci: false }).join(" ")).toBe(
    "/f --id vm-1 --api-sock /r/vm-1/api.sock --log-path /s/vm-1/firecracker.log --level Warn",
  )
  expect(bareArgv({ ...bare, pci: true }).at(-1)).toBe("--enable-pci")
})

test.each([
  ["Firecracker v1.16.1\n\nlogged", [1, 16, 1]],
  ["2026 [x] log\nFirecracker v1.5.0\n", [1, 5, 0]],
  ["Jailer v1.16.1\n", undefined],
  ["", undefined],
] as const)("%p is the release %p", (text, release) => {
  expect(parseRelease("Firecracker", text)).toEqual(release && [...release])
})

test("old releases are refused, bad ones known, and what they lack named", () => {
  expect(() => requireSupported("/f", [1, 4, 9])).toThrow("1.4.9, which is too old: 1.5 or newer is needed")
  requireSupported("/f", [1, 5, 0])
  for (const release of [
    [1, 13, 1],
    [1, 14, 0],
    [1, 5, 0],
    [1, 16, 0],
    [1, 15, 0],
  ] as const)
    expect(knownBad(release), release.join(".")).toBeDefined()
  for (const release of [
    [1, 15, 1],
    [1, 16, 1],
    [2, 0, 0],
  ] as const)
    expect(knownBad(release), release.join(".")).toBeUndefined()
  const dangerous = (...release: [number, number, number]) => knownBad(release)?.dangerous
  expect([dangerous(1, 13, 1), dangerous(1, 14, 0), dangerous(1, 15, 0)]).toEqual([true, true, true])
  expect([dangerous(1, 13, 2), dangerous(1, 14, 4), dangerous(1, 16, 0)]).toEqual([false, false, false])
})

const request = (path: string, body: Record<string, unknown> | undefined): ApiRequest => ({
  ...{ method: "PUT", path, setting: "x" },
  ...(body === undefined ? {} : { body }),
})

const NEEDS = {
  ...{ vcpus: 2, memoryMiB: 512, bootArgs: "quiet", firecracker: {}, initrd: false, drives: [] },
  ...{ jailed: true, networked: true, restored: false },
}
const BUCKET = { size: 1, refill_time: 1 }
const LIMITER = { bandwidth: { ...BUCKET, one_time_burst: 1 }, ops: BUCKET }
const BALLOON = { amount_mib: 1, deflate_on_oom: true }

test.each([
  [
    { serial: { rate_limiter: BUCKET } },
    [1, 13, 9],
    "firecracker.serial: Firecracker 1.13 does not have it: it came with 1.14",
  ],
  [
    { serial: { rate_limiter: BUCKET } },
    [1, 15, 0],
    "firecracker.serial.rate_limiter: Firecracker 1.15 does not have it: it came with 1.16",
  ],
  [
    { machine: { huge_pages: "2M" } },
    [1, 6, 0],
    "firecracker.machine.huge_pages: Firecracker 1.6 does not have it: it came with 1.7",
  ],
  [
    { machine: { huge_pages: "2M" }, balloon: BALLOON },
    [1, 13, 0],
    "firecracker.machine.huge_pages with a balloon: Firecracker 1.13 does not have it: it came with 1.14",
  ],
  [{ network: { mtu: 9000 } }, [1, 15, 1], "firecracker.network.mtu: Firecracker 1.15"],
  [
    { balloon: { ...BALLOON, free_page_hinting: true } },
    [1, 13, 0],
    "firecracker.balloon.free_page_hinting: Firecracker 1.13",
  ],
  [{ balloon: { ...BALLOON, free_page_reporting: true } }, [1, 13, 0], "balloon.free_page_reporting: Firecracker 1.13"],
  [{ mmds: { imds_compat: true } }, [1, 12, 0], "firecracker.mmds.imds_compat: Firecracker 1.12"],
  [{ logger: { module: "api" } }, [1, 5, 0], "firecracker.logger.module: Firecracker 1.5"],
  [{ pmem: [{ id: "p", path: "/p" }] }, [1, 13, 0], "firecracker.pmem: Firecracker 1.13"],
  [
    {
      pmem: [
        { id: "p", path: "/p" },
        { id: "q", path: "/q", rate_limiter: {} },
      ],
    },
    [1, 15, 0],
    "firecracker.pmem.rate_limiter: Firecracker 1.15",
  ],
  [{ vhost_user: [{ id: "v", socket: "/s" }] }, [1, 5, 0], "firecracker.vhost_user: Firecracker 1.5"],
  [{ memory_hotplug: { total_size_mib: 128 } }, [1, 13, 0], "firecracker.memory_hotplug: Firecracker 1.13"],
  [
    { machine: { huge_pages: "2M" }, balloon: BALLOON },
    [1, 13, 0],
    "firecracker.machine.huge_pages with a balloon: Firecracker 1.13",
  ],
  [{ pci: true }, [1, 12, 0], "firecracker.pci: Firecracker 1.12 does not have it: it came with 1.13"],
] as const)("of %p the release %p lacks something, and it is named", (given, release, words) => {
  const settings = given as FirecrackerSettings
  expect(() => requireKnown({ ...NEEDS, firecracker: settings }, release)).toThrow(words)
  requireKnown({ ...NEEDS, firecracker: settings }, [1, 16, 0])
  requireKnown(NEEDS, [1, 5, 0])
  requireKnown({ ...NEEDS, firecracker: { pci: false } }, [1, 5, 0])
})

test("huge pages go with an initrd from 1.13 on", () => {
  const needs = { ...NEEDS, initrd: true, firecracker: { machine: { huge_pages: "2M" } } } as const
  expect(() => requireKnown(needs, [1, 12, 0])).toThrow("huge_pages with an initrd: Firecracker 1.12")
  requireKnown(needs, [1, 13, 0])
  requireKnown({ ...needs, initrd: false }, [1, 12, 0])
  requireKnown({ ...needs, firecracker: { machine: { huge_pages: "None" } } }, [1, 12, 0])
})

test("every setting that Firecracker has becomes a request that its API takes", () => {
  const settings: FirecrackerSettings = {
    machine: { smt: true, track_dirty_pages: true, huge_pages: "2M" },
    drives: { disk0: { cache_type: "Writeback", io_engine: "Async", rate_limiter: LIMITER } },
    network: { mtu: 1500, rx_rate_limiter: LIMITER, tx_rate_limiter: LIMITER },
    vsock: { guest_cid: 3 },
    entropy: { rate_limiter: LIMITER },
    balloon: { amount_mib: 1, deflate_on_oom: true, stats_polling_interval_s: 1, free_page_hinting: true },
    mmds: { version: "V2", ipv4_address: "169.254.1.1", imds_compat: true, data: { latest: { name: "x" } } },
    logger: { show_level: true, module: "api" },
    metrics: true,
    serial: { rate_limiter: { size: 1, refill_time: 1 } },
    cpu_config: { kvm_capabilities: ["!171"] },
    memory_hotplug: { total_size_mib: 1024, block_size_mib: 2, slot_size_mib: 128 },
    pci: true,
    pmem: [{ id: "p", path: "/pmem0", root_device: true, read_only: true, rate_limiter: LIMITER }],
    vhost_user: [{ id: "v", socket: "/vhost0.sock", cache_type: "Writeback" }],
  }
  const network = { tap: "bgr7f3a", mac: "02:00:5e:10:00:01", ports: [], netns: undefined, mtu: undefined }
  const requests = startRequests({ ...BOOT, network, firecracker: settings }, FILES)
  for (const each of requests) requireBody(each)
  const body = (path: string) => requests.find((each) => each.path === path)?.body
  expect(body("/network-interfaces/eth0")).toEqual({
    ...{ iface_id: "eth0", host_dev_name: "bgr7f3a", guest_mac: "02:00:5e:10:00:01" },
    ...{ mtu: 1500, rx_rate_limiter: LIMITER, tx_rate_limiter: LIMITER },
  })
  expect(body("/drives/disk0")).toMatchObject({ cache_type: "Writeback", io_engine: "Async", rate_limiter: LIMITER })
  const config = { version: "V2", ipv4_address: "169.254.1.1", imds_compat: true }
  expect(body("/mmds/config")).toEqual({ network_interfaces: ["eth0"], ...config })
  expect(body("/mmds")).toEqual({ latest: { name: "x" } })
  expect(body("/logger")).toEqual({ level: "Warning", show_level: true, module: "api" })
  expect(body("/metrics")).toEqual({ metrics_path: "/metrics.json" })
  expect(body("/serial")).toEqual({ rate_limiter: { size: 1, refill_time: 1 } })
  expect(body("/pmem/p")).toEqual({
    ...{ id: "p", path_on_host: "/pmem0", root_device: true, read_only: true, rate_limiter: LIMITER },
  })
  expect(body("/drives/v")).toEqual({
    ...{ drive_id: "v", socket: "/vhost0.sock", is_root_device: false, cache_type: "Writeback" },
  })
  expect(body("/cpu-config")).toEqual({ kvm_capabilities: ["!171"] })
  expect(body("/hotplug/memory")).toEqual({ total_size_mib: 1024, block_size_mib: 2, slot_size_mib: 128 })
  const order = requests.map(({ path }) => path)
  expect(order.slice(0, 3)).toEqual(["/logger", "/metrics", "/serial"])
  expect(order.indexOf("/mmds/config")).toBeGreaterThan(order.indexOf("/network-interfaces/eth0"))
  expect(order.indexOf("/mmds")).toBeGreaterThan(order.indexOf("/mmds/config"))
  // Before a snapshot is loaded only these may be told.
  const restore = { state: jailPath("/s"), memory: jailPath("/m") }
  const restored = startRequests({ ...BOOT, restore, firecracker: settings }, FILES)
  expect(restored.map(({ path }) => path)).toEqual(["/logger", "/metrics", "/serial", "/snapshot/load", "/vm"])
  for (const each of [
    ...restored,
    PAUSE,
    RESUME,
    CTRL_ALT_DEL,
    snapshotRequest({ state: jailPath("/s"), memory: jailPath("/m") }),
  ])
    requireBody(each)
})

test.each([
  ["/balloon", { amount_mib: -1, deflate_on_oom: true }, "x: amount_mib: a whole number from 0 on"],
  [
    "/balloon",
    { amount_mib: 1, deflate_on_oom: true, deflate_on_om: true },
    "x: deflate_on_om: unknown; did you mean deflate_on_oom?",
  ],
  ["/balloon", { amount_mib: 1 }, "x: deflate_on_oom: missing"],
  ["/balloon", undefined, "x: "],
  [
    "/drives/a",
    { drive_id: "a", path_on_host: "", is_root_device: true, is_read_only: true },
    "x: path_on_host: a path",
  ],
  [
    "/drives/a",
    {
      ...{ drive_id: "a", path_on_host: "/", is_root_device: true, is_read_only: true },
      rate_limiter: { ops: { size: 1.5 } },
    },
    "x: rate_limiter.ops.size: a whole number from 0 on",
  ],
  [
    "/network-interfaces/eth0",
    { iface_id: "eth0", host_dev_name: "x".repeat(16) },
    "x: host_dev_name: the name of an interface",
  ],
  [
    "/network-interfaces/eth0",
    { iface_id: "eth0", host_dev_name: "tap%d" },
    "x: host_dev_name: the name of an interface",
  ],
  [
    "/network-interfaces/eth0",
    { iface_id: "eth0", host_dev_name: "a", guest_mac: "1:2:3" },
    "x: guest_mac: a MAC address",
  ],
  [
    "/network-interfaces/eth0",
    { iface_id: "eth0", host_dev_name: "a", mtu: 67 },
    "x: mtu: a whole number from 68 to 65535",
  ],
  ["/mmds/config", { network_interfaces: [] }, "x: network_interfaces: at least one interface"],
  [
    "/mmds/config",
    { network_interfaces: ["eth0"], ipv4_address: "10.0.0.1" },
    "x: ipv4_address: a link-local IPv4 address",
  ],
  ["/machine-config", { vcpu_count: 33, mem_size_mib: 1 }, "x: vcpu_count: a whole number from 1 to 32"],
  ["/serial", { rate_limiter: BUCKET, serial_out_path: "/x" }, "x: serial_out_path: unknown"],
  ["/other", {}, "x: nothing is known of /other"],
])("%s %p is refused, and says which setting", (path, body, words) => {
  expect(() => requireBody(request(path, body))).toThrow(words)
})

test.each([
  [
    { balloon: { amount_mib: 513, deflate_on_oom: true } },
    {},
    "balloon.amount_mib: 513 is more than the guest's memory (512)",
  ],
  [{ machine: { smt: true } }, { vcpus: 3 }, "machine.smt: vcpus must be 1 or even, not 3"],
  [
    { machine: { huge_pages: "2M" } },
    { memoryMiB: 511 },
    "machine.huge_pages: memory must be an even number of MiB, not 511",
  ],
  [{ mmds: {} }, { networked: false }, "mmds: the guest has no network card"],
  [{ network: { mtu: 1500 } }, { networked: false }, "network: the guest has no network card"],
  [{ mmds: { data: { x: "y".repeat(51_200) } } }, {}, "mmds.data: 51208 bytes; Firecracker takes 51200 at most"],
  [
    { memory_hotplug: { total_size_mib: 1024, block_size_mib: 3 } },
    {},
    "firecracker.memory_hotplug.block_size_mib: 3 is not a power of 2",
  ],
  [
    { memory_hotplug: { total_size_mib: 1024, block_size_mib: 4, slot_size_mib: 130 } },
    {},
    "memory_hotplug.slot_size_mib: 130 is not a multiple of block_size_mib (4)",
  ],
  [
    { memory_hotplug: { total_size_mib: 200 } },
    {},
    "memory_hotplug.total_size_mib: 200 is not a multiple of slot_size_mib (128)",
  ],
  [
    { cpu_config: { kvm_capabilities: Array.from({ length: 9000 }, () => "!171") } },
    {},
    "firecracker.cpu_config: 63022 bytes; Firecracker takes 51200 at most",
  ],
  [
    { pmem: [{ id: "p", path: "/p", root_device: true }] },
    { drives: [{ id: "a", root: true }] },
    "firecracker.pmem[0]: drives[0] has the root file system already",
  ],
  [
    {
      pmem: [{ id: "p", path: "/p", root_device: true }],
      vhost_user: [{ id: "v", socket: "/s", root_device: true }],
    },
    {},
    "firecracker.pmem[0]: firecracker.vhost_user[0] has the root file system already",
  ],
  [
    { vhost_user: [{ id: "a", socket: "/s" }] },
    { drives: [{ id: "a", root: false }] },
    "firecracker.vhost_user[0].id: a drive is called a already",
  ],
  [
    { vhost_user: [{ id: "v", socket: "/s", partuuid: "1-2" }] },
    {},
    "vhost_user[0].partuuid: is for the drive with the root file system",
  ],
  [
    { drives: { a: { partuuid: "1-2" } } },
    { drives: [{ id: "a", root: false }] },
    "drives.a.partuuid: is for the drive with the root file system",
  ],
  [{ pmem: [{ id: "p", path: "/p" }] }, { restored: true }, "firecracker.pmem: a snapshot has none of these"],
  [{ pci: true }, { bootArgs: "console=ttyS0 pci=off" }, "firecracker.pci: bootArgs say pci=off"],
  [{ pci: true }, { bootArgs: "pci=noacpi,off quiet" }, "firecracker.pci: bootArgs say pci=off"],
  [{}, { bootArgs: 'a="b -- c" quiet' }, "bootArgs: Firecracker takes a -- in quotes"],
  [{}, { bootArgs: 'quiet a="b -- c' }, "bootArgs: Firecracker takes a -- in quotes"],
  [{ resource_limit: { fsize: 1 } }, { jailed: false }, "resource_limit: the jailer keeps it, and there is no jail"],
  [
    { serial: { rate_limiter: { size: 1, refill_time: 1 } } },
    {},
    "serial.rate_limiter: Firecracker 1.15 does not have it",
  ],
] as const)("before anything is made, %p with %p is refused: %s", (given, more, words) => {
  const firecracker = given as FirecrackerSettings
  const program = { path: "/f", version: [1, 15] } as const
  requireNeeds(program, NEEDS)
  expect(() => requireNeeds(program, { ...NEEDS, firecracker, ...more })).toThrow(words)
})

test.each([
  ["quiet -- one two", "quiet -- one two"],
  ["quiet\t--\tone", "quiet -- one"],
  ["quiet --", "quiet -- "],
  ['quiet "--" one -- two', "quiet -- one -- two"],
  ["-- one", " -- one"],
  ['quiet a="b c', 'quiet a="b c"'],
])("the command line %j is told so that Firecracker's own words are the kernel's: %j", (bootArgs, told) => {
  const [, request] = settingRequests({ ...BOOT, bootArgs }, FILES)
  expect(request?.body).toMatchObject({ boot_args: told })
})

test("settings of a drive that there is not are refused, with the nearest that there is", () => {
  requireDrives({ ...BOOT, firecracker: { drives: { disk0: {}, disk1: {} } } })
  expect(() => requireDrives({ ...BOOT, firecracker: { drives: { dsk0: {} } } })).toThrow(
    "firecracker.drives: no drive is called dsk0; did you mean disk0?",
  )
})

test.each([
  [400, '{"fault_message":"no such kernel"}', "no such kernel"],
  [400, '{ "error": "bad\nAll dropped." }', "bad All dropped."],
  [413, "", "status 413"],
  [500, "<html>", "status 500: <html>"],
  [400, '{"other":1}', 'status 400: {"other":1}'],
])("of an answer %d %p the user is told %p", (code, text, words) => expect(faultOf(code, text)).toBe(words))

test.each([
  [0, null, undefined, "guest reset"],
  [1, null, undefined, "crashed"],
  [148, null, undefined, "crashed"],
  [null, "SIGKILL", undefined, "killed"],
  [null, "SIGKILL", "halted", "guest powered off"],
  [null, "SIGTERM", undefined, "stopped"],
  [null, "SIGSYS", undefined, "crashed"],
] as const)("exit code %p, signal %p and %p mean: %s", (code, signal, announced, reason) => {
  expect(exitReason({ code, signal, announced })).toBe(reason)
})

test("a guest that has powered off says so on a line of its kernel's", () => {
  expect(saysHalted("x\r\n[   12.345678] reboot: Power down\r\n")).toBe(true)
  expect(saysHalted("[    1.000000] reboot: System halted\n")).toBe(true)
  expect(saysHalted("reboot: Power down\n")).toBe(false)
  expect(saysHalted("[    1.000000] reboot: Power down, says the user\n")).toBe(false)
})

const ANSWER = { id: "vm-1", state: "Paused", vmm_version: "1.16.1" } as const

test.each([
  [{ ...ANSWER, state: "Gone" }, "instance: Firecracker answered / otherwise than expected: state: Invalid type"],
  [{ id: "vm-1" }, "instance: Firecracker answered / otherwise than expected: state: Invalid key"],
  [[], "instance: Firecracker answered / otherwise than expected"],
  ["no JSON", "instance: Firecracker answered / with something that is not JSON"],
])("the answer %p is not believed", async (answer, words) => {
  const socket = join(directory.path, "api.sock")
  const server = Bun.serve({
    unix: socket,
    fetch: () => (typeof answer === "string" ? new Response(answer) : Response.json(answer)),
  })
  await expect(openApi(socket).request(INSTANCE)).rejects.toThrow(words)
  await expect(openApi(socket).request(PAUSE)).rejects.toThrow("pause: Firecracker answered /vm")
  await server.stop(true)
})

const deep = (depth: number): unknown => (depth === 0 ? 1 : { x: deep(depth - 1) })

test.each([
  [{ balloon: null, drives: [{ drive_id: "a", rate_limiter: { ops: { size: 1 } } }] }, undefined],
  [deep(12), undefined],
  [
    deep(13),
    "vm/config: Firecracker answered /vm/config otherwise than expected: an object that nests at most 12 deep",
  ],
  [[], "otherwise than expected: an object"],
  ["text", "otherwise than expected: an object"],
  [{ x: "y".repeat(600_000) }, "vm/config: Firecracker answered /vm/config with something that is not JSON"],
])("the configuration that Firecracker says it has is bounded: %#", async (answer, words) => {
  const socket = join(directory.path, "api.sock")
  const server = Bun.serve({ unix: socket, fetch: () => Response.json(answer) })
  const asked = openApi(socket).request(CONFIGURATION)
  if (words === undefined) expect(await asked).toEqual(answer as Record<string, unknown>)
  else await expect(asked).rejects.toThrow(words)
  await expect(openApi(socket).request(BALLOON_STATISTICS)).rejects.toThrow(/^balloon: Firecracker answered/)
  await server.stop(true)
})

test("an answer without an end is cut off, and a refusal's words are few", async () => {
  const socket = join(directory.path, "api.sock")
  const more = (to: Bun.Socket) => {
    while (to.write("x".repeat(65_536)) === 65_536);
  }
  const data = (to: Bun.Socket) => {
    to.write("HTTP/1.1 400 \r\n\r\n")
    more(to)
  }
  const server = Bun.listen({ unix: socket, socket: { data, drain: more } })
  await expect(openApi(socket).request(CONFIGURATION)).rejects.toThrow(/refused it: status 400: x{200}$/)
  server.stop(true)
})

test("a refusal that is about another setting names that one", async () => {
  const socket = join(directory.path, "api.sock")
  const fetch = () => Response.json({ fault_message: "Missing KVM capabilities: 0xac" }, { status: 400 })
  const server = Bun.serve({ unix: socket, fetch })
  const start = (firecracker: FirecrackerSettings) => startRequests({ ...BOOT, firecracker }, FILES).at(-1) ?? PAUSE
  const refusal = (firecracker: FirecrackerSettings) => openApi(socket).request(start(firecracker))
  await expect(refusal({})).rejects.toThrow("boot: Firecracker refused it: Missing")
  await expect(refusal({ memory_hotplug: { total_size_mib: 128 } })).rejects.toThrow("boot: Firecracker refused it")
  await expect(refusal({ cpu_config: {} })).rejects.toThrow("firecracker.cpu_config: Firecracker refused it: Missing")
  await server.stop(true)
})

test("requests are made one at a time, with their length, and their answers read by it", async () => {
  const socket = join(directory.path, "api.sock")
  const seen: string[] = []
  let atOnce = 0
  const server = Bun.serve({
    unix: socket,
    async fetch(request) {
      expect(++atOnce).toBe(1)
      const text = await request.text()
      seen.push(`${request.method} ${new URL(request.url).pathname} ${request.headers.get("content-length")} ${text}`)
      await Bun.sleep(5)
      atOnce--
      return request.method === "GET" ? Response.json(ANSWER) : new Response(null, { status: 204 })
    },
  })
  const api = openApi(socket)
  const put = (n: number) => api.request({ method: "PUT", path: "/x", body: { n }, setting: "x" })
  const answers = await Promise.all([put(1), api.request(INSTANCE), put(2)])
  expect(answers).toEqual([undefined, ANSWER, undefined])
  expect(seen).toEqual(['PUT /x 7 {"n":1}', "GET / null ", 'PUT /x 7 {"n":2}'])
  await expect(
    api.request({ method: "PUT", path: "/x", body: { x: "y".repeat(60_000) }, setting: "big" }),
  ).rejects.toThrow("big: 60008 bytes; Firecracker takes 51200 at most")
  await server.stop(true)
  await expect(put(3)).rejects.toThrow("x: Firecracker did not answer PUT /x")
})

test("a redirect is a refusal, wherever it leads", async () => {
  const socket = join(directory.path, "api.sock")
  let elsewhere = 0
  const other = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: () => Response.json({ ...ANSWER, at: elsewhere++ }),
  })
  const server = Bun.serve({ unix: socket, fetch: () => Response.redirect(other.url.href) })
  await expect(openApi(socket).request(INSTANCE)).rejects.toThrow("Firecracker refused it: status 302")
  expect(elsewhere).toBe(0)
  await Promise.all([server.stop(true), other.stop(true)])
})

test("a server that never answers has a limit", async () => {
  const socket = join(directory.path, "api.sock")
  const server = Bun.serve({ unix: socket, fetch: () => new Promise<Response>(() => {}) })
  const api = openApi(socket, 50)
  await expect(api.request({ method: "GET", path: "/", setting: "version" })).rejects.toThrow(
    "version: Firecracker did not answer GET / in 50ms",
  )
  await server.stop(true)
})

/** Firecracker's API of a VM in a state, and what it was asked. */
function serve(state: string): { socket: HostPath; asked: string[]; stop: () => Promise<void> } {
  const socket = hostPath(join(directory.path, "api.sock"))
  const asked: string[] = []
  const server = Bun.serve({
    unix: socket,
    async fetch(asks) {
      const body = asks.method === "GET" ? "" : ` ${Object.values((await asks.json()) as object)[0]}`
      asked.push(`${asks.method} ${new URL(asks.url).pathname}${body}`)
      return asks.method === "GET" ? Response.json({ ...ANSWER, state }) : new Response(null, { status: 204 })
    },
  })
  return { socket, asked, stop: () => server.stop(true) }
}
const PLACE = {
  ...{ jails: hostPath("/j"), runtime: hostPath("/r"), qmpSocket: hostPath("/r/q") },
  ...{ firecrackerLog: hostPath("/l"), firecrackerMetrics: hostPath("/m") },
}
const PROGRAM = { path: "/f", version: [1, 16] } as const
const steps: string[] = []
const onStep = (step: string) => void steps.push(step)
const beforeResume = () => {}

test("Ctrl-Alt-Del is pressed on a guest that runs: one that stands still goes on first", async () => {
  for (const [state, more] of [
    ["Running", []],
    ["Paused", ["PATCH /vm Resumed"]],
  ] as const) {
    const { socket, asked, stop } = serve(state)
    steps.splice(0)
    const control = await firecracker.connect({ ...BOOT, disks: [] }, { place: PLACE, onStep, beforeResume })(socket)
    await control.ready
    expect(steps).toEqual([
      "answer GET /",
      "answer PUT /machine-config",
      "answer PUT /boot-source",
      "answer PUT /actions",
    ])
    asked.splice(0)
    await control.pause()
    await control.pressCtrlAltDel?.()
    expect(asked).toEqual(["PATCH /vm Paused", "GET /", ...more, "PUT /actions SendCtrlAltDel"])
    await stop()
  }
})

test("on arm64 there is no Ctrl-Alt-Del, and a guest that powers off ends its VMM by itself", async () => {
  const { socket, stop } = serve("Not started")
  const arch = Object.getOwnPropertyDescriptor(process, "arch")
  Object.defineProperty(process, "arch", { ...arch, value: "arm64" })
  try {
    const control = await firecracker.connect(BOOT, { place: PLACE, onStep, beforeResume })(socket)
    await control.ready
    expect(control.pressCtrlAltDel).toBeUndefined()
    control.onConsole?.(new TextEncoder().encode("[    1.000000] reboot: Power down\n"))
    expect(control.announced()).toBeUndefined()
    expect(() => requireNeeds(PROGRAM, { ...NEEDS, firecracker: { machine: { smt: true } } })).toThrow("x86-64 alone")
  } finally {
    Object.defineProperty(process, "arch", arch ?? {})
    await stop()
  }
})

test("without its jailer Firecracker is not run in a jail", () => {
  expect(() => firecracker.launch(PROGRAM, BOOT, PLACE)).toThrow("jailer is not in PATH")
  expect(firecracker.launch(PROGRAM, { ...BOOT, confinement: undefined }, PLACE).control).toEqual({
    ...{ is: "own", host: hostPath("/r/api.sock"), jail: jailPath("/r/api.sock") },
  })
  expect(firecracker.jailName({ ...PROGRAM, path: "/opt/firecracker-v1.16.1-x86_64" })).toBe(
    "firecracker-v1.16.1-x86_64",
  )
})

test("a release that cannot put a snapshot's card on another tap is refused before anything is made", () => {
  const older = { ...PROGRAM, jailer: "/jailer", version: [1, 11] as const }
  const words = "--restore with a network: Firecracker 1.11 does not have it: it came with 1.12"
  expect(() => firecracker.require(older, { ...NEEDS, restored: true })).toThrow(words)
  firecracker.require(older, { ...NEEDS, restored: true, networked: false })
  firecracker.require(older, NEEDS)
  firecracker.require({ ...older, version: [1, 12] }, { ...NEEDS, restored: true })
})

test("a guest is told of its network's MTU, but of Firecracker's own setting where there is one", () => {
  const network = { tap: "bgr7f3a", mac: undefined, ports: [], netns: undefined, mtu: 1400 }
  const mtuOf = (firecracker: FirecrackerSettings) => {
    const requests = startRequests({ ...BOOT, network, firecracker }, FILES)
    for (const each of requests) requireBody(each)
    return requests.find(({ path }) => path === "/network-interfaces/eth0")?.body
  }
  expect(mtuOf({})).toMatchObject({ mtu: 1400 })
  expect(mtuOf({ network: { mtu: 1300 } })).toMatchObject({ mtu: 1300 })
})

test("a user-mode network is no card of Firecracker's", () => {
  const network = { tap: undefined, mac: undefined, ports: [], netns: undefined, mtu: undefined }
  expect(startRequests({ ...BOOT, network }, FILES).map(({ path }) => path)).not.toContain("/network-interfaces/eth0")
})

test("after a snapshot the network card is on another tap", () => {
  const network = { tap: "bgrabcd1234", mac: "02:00:00:00:00:01", ports: [], netns: undefined, mtu: undefined }
  const requests = startRequests(
    { ...BOOT, network, restore: { state: jailPath("/s"), memory: jailPath("/m") } },
    FILES,
  )
  expect(requests.find(({ path }) => path === "/snapshot/load")?.body).toMatchObject({
    network_overrides: [{ iface_id: "eth0", host_dev_name: "bgrabcd1234" }],
  })
})

test("devices are changed by what they are called; a body that the API would not take is refused before it is asked", async () => {
  const asked: unknown[] = []
  const answers: Record<string, unknown> = {
    "/vm/config": {
      drives: [
        { drive_id: "data", path_on_host: "/disk0", more: 1 },
        { drive_id: "served", path_on_host: null },
      ],
      "network-interfaces": [{ iface_id: "lan", host_dev_name: "t" }, { iface_id: "eth0" }],
      "machine-config": { mem_size_mib: 64 },
    },
    "/": { id: "web", state: "Running", vmm_version: "1.16.1" },
  }
  const devices = devicesOf({
    async request({ method, path, body }: ApiRequest<unknown>) {
      asked.push([method, path, ...(body === undefined ? [] : [body])])
      return answers[path] as never
    },
    requestAll: () => Promise.reject(new Error("one at a time")),
  })
  expect(await devices.drives()).toEqual([
    { id: "data", path: "/disk0" },
    { id: "served", path: null },
  ])
  const limiter = { ops: { size: 1, refill_time: 2 } }
  await devices.reopenDrive("data", jailPath("/new"))
  await devices.limitDrive("data", { rate_limiter: limiter })
  await devices.limitCard("eth0", { tx_rate_limiter: limiter })
  await devices.addCard({ id: "lan", tap: "bgrabcdefghc1", mac: "02:00:00:00:00:07", mtu: 9000 })
  await devices.removeCard("lan")
  expect(devices.addCard({ id: "lan", tap: "a tap", mac: "02:00:00:00:00:07" })).rejects.toThrow("host_dev_name")
  expect(devices.limitDrive("a b", { rate_limiter: limiter })).rejects.toThrow("drive_id: letters, digits and _")
  expect(asked).toEqual([
    ["GET", "/vm/config"],
    ["PATCH", "/drives/data", { drive_id: "data", path_on_host: "/new" }],
    ["PATCH", "/drives/data", { drive_id: "data", rate_limiter: limiter }],
    ["PATCH", "/network-interfaces/eth0", { iface_id: "eth0", tx_rate_limiter: limiter }],
    [
      "PUT",
      "/network-interfaces/lan",
      { iface_id: "lan", host_dev_name: "bgrabcdefghc1", guest_mac: "02:00:00:00:00:07", mtu: 9000 },
    ],
    ["GET", "/"],
    ["DELETE", "/network-interfaces/lan"],
  ])
  expect(await devices.cards()).toEqual(["lan", "eth0"])
  expect(() => requireBody(balloonRequest(-1))).toThrow("balloon: amount_mib: a whole number from 0 on")
  expect(() => requireBody(memoryRequest(0.5))).toThrow("memory: requested_size_mib: a whole number from 0 on")
})

test("changed pages are tracked after a restore too, by the word of the release", () => {
  const restore = { state: jailPath("/s"), memory: jailPath("/m") }
  const tracked = { ...BOOT, restore, firecracker: { machine: { track_dirty_pages: true } } }
  const bodyOf = (minor: number) => startRequests(tracked, FILES, [1, minor, 0])[0]
  expect(bodyOf(12)?.body).toMatchObject({ enable_diff_snapshots: true })
  expect(bodyOf(13)?.body).toMatchObject({ track_dirty_pages: true })
  for (const request of [bodyOf(12), bodyOf(13)]) if (request !== undefined) requireBody(request)
  const [plain] = startRequests({ ...BOOT, restore }, FILES)
  expect(Object.keys(plain?.body ?? {})).toEqual(["snapshot_path", "mem_backend"])
})

test("a snapshot on a base writes what has changed, where the release can do that", () => {
  const files = { state: jailPath("/s"), memory: jailPath("/m") }
  expect(snapshotRequest(files, true).body).toMatchObject({ snapshot_type: "Diff" })
  requireBody(snapshotRequest(files, true))
  expect(() => requireOnBase([1, 5, 1], 128)).toThrow(failure("UNSUPPORTED", "a snapshot on a base: Firecracker 1.5"))
  requireOnBase([1, 6, 0], 3072)
  expect(() => requireOnBase([1, 14, 4], 4096)).toThrow(failure("UNSUPPORTED", "of more than 3 GiB of memory,"))
  requireOnBase([1, 15, 0], 4096)
})

test("a restored guest may have its memory from a handler, and huge pages only so", () => {
  const restore = { state: jailPath("/s"), memory: jailPath("/handler"), uffd: true }
  const [load] = startRequests({ ...BOOT, restore }, FILES)
  expect(load?.body).toMatchObject({ mem_backend: { backend_type: "Uffd", backend_path: "/handler" } })
  if (load !== undefined) requireBody(load)
  const machine = { huge_pages: "2M" } as const
  const needs = { ...NEEDS, restored: true, networked: false, firecracker: { machine } }
  const program = { path: "/fc", jailer: "/jailer", version: [1, 16] } as const
  const alone = { path: "/fc", version: [1, 16] } as const
  expect(() => firecracker.require(alone, { ...NEEDS, jailed: true })).toThrow(/^jailer is not in PATH/)
  firecracker.require(alone, { ...NEEDS, jailed: false })
  expect(() => firecracker.require(program, needs)).toThrow(
    "firecracker.machine.huge_pages: Firecracker restores huge pages",
  )
  firecracker.require(program, { ...needs, firecracker: { machine, uffd: "/h" } })
  firecracker.require(program, { ...needs, restored: false })
})
