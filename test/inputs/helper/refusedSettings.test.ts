import { expect, test } from "bun:test"
import { refusedSetting } from "../../../src/inputs/helper/refusedSettings.ts"
import { parseSpec } from "../../../src/inputs/plugin/definition.ts"
import { firecrackerSpec } from "../../../src/inputs/schema/firecracker.ts"
import { DRIVE_KEYS, specSchema } from "../../../src/inputs/schema/vm.ts"

const refused = (spec: object) =>
  refusedSetting(parseSpec({ kernel: "/k", ...spec }, { path: "/p.ts", text: "" }))?.setting

for (const spec of [
  {},
  { jail: true, limits: { memory: "1G", cpus: 2, pids: 100 }, vcpus: 32, memory: "64G" },
  { drives: [{ path: "/d" }, { path: "/e", readonly: true, stage: "bind" }, { path: "/f", stage: "copy" }] },
  { network: true },
  { network: "user" },
  { network: { mode: "user", ports: ["2222:22"] } },
  {
    network: {
      ports: ["127.0.0.1:8080:80", "1024:1"],
      ipv6: true,
      netns: true,
      dns: ["10.0.0.1"],
    },
  },
  { network: { bridge: "bgr0", subnet: "10.213.0.0/16", nat: true, isolate: true, forward: false } },
  { firecracker: { pci: true, metrics: true, vsock: { guest_cid: 3 }, mmds: { data: { a: { b: {} } } } } },
  { firecracker: { machine: { huge_pages: "None" }, pmem: [{ id: "p", path: "/p" }] } },
  { timeouts: { start: "1h", run: "24h", preBoot: "1h", postBoot: "1h", stop: "10m", hook: "10m" } },
  { restart: "always", after: ["x"], console: { limit: "16M" } },
])
  test(`${JSON.stringify(spec)} is the user's to say`, () => expect(refused(spec)).toBeUndefined())

for (const [setting, spec] of [
  ["jail", { jail: {} }],
  ["jail", { jail: false }],
  ["drives[1].persist", { drives: [{ path: "/d" }, { persist: "d" }] }],
  ["drives[0].stage", { drives: [{ path: "/d", stage: "bind" }] }],
  ["drives[0].stage", { drives: [{ path: "/d", write: "shared" }] }],
  ["network.ports", { network: { mode: "user", ports: ["80:80"] } }],
  ["network.ports", { network: { ports: ["2000:1", "1023:1/udp"] } }],
  ["network.bridge", { network: { bridge: "bgr-mine" } }],
  ["network.bridge", { network: { bridge: "eth-br" } }],
  ["network.forward", { network: { forward: true } }],
  ["network.address", { network: { address: "10.213.0.9" } }],
  ["network.mtu", { network: { mtu: 1400 } }],
  ["timeouts.stop", { timeouts: { stop: "11m" } }],
  ["timeouts.hook", { timeouts: { hook: "24h" } }],
  ["timeouts.postStop", { timeouts: { hook: "10m", preStop: "10m", postStop: "601s" } }],
  ["console.limit", { console: { limit: "17M" } }],
] as const)
  test(`${JSON.stringify(spec)}: ${setting} is root's`, () => expect(refused(spec)).toBe(setting))

// A setting that is new is granted to users unless a rule refuses it: whoever adds one decides that here.
test("each setting is one that was thought of", () => {
  const { network } = parseSpec({ kernel: "/k", network: true }, { path: "/p.ts", text: "" })
  expect(Object.keys(specSchema.entries).toSorted()).toEqual(SETTINGS)
  expect(Object.keys(network).toSorted()).toEqual(NETWORK)
  expect(Object.keys(firecrackerSpec.entries).toSorted()).toEqual(FIRECRACKER)
  expect(DRIVE_KEYS.toSorted()).toEqual(DRIVE)
})

const SETTINGS = [
  ...[
    "accel",
    "after",
    "bootArgs",
    "console",
    "drives",
    "ends",
    "extraBootArgs",
    "firecracker",
    "initrd",
    "jail",
    "kernel",
    "limits",
  ],
  ...["memory", "name", "network", "restart", "timeouts", "unsafeClone", "vcpus", "vmm"],
]
const FIRECRACKER = [
  ...["balloon", "cpu_config", "drives", "entropy", "logger", "machine", "memory_hotplug", "metrics", "mmds"],
  ...["network", "pci", "pmem", "resource_limit", "serial", "uffd", "vhost_user", "vsock"],
]
const DRIVE = ["format", "id", "path", "persist", "readonly", "root", "size", "stage", "write"]
const NETWORK = [
  ...["address", "bridge", "dns", "forward", "ipv6", "isolate", "mac", "mode", "mtu", "nat", "netns", "ports"],
  ...["subnet", "vlan"],
]
