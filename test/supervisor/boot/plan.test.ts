import { expect, test } from "bun:test"
import type { Exit } from "banger"
import { hostPath, jailPath } from "../../../src/base/terms/path.ts"
import { firecracker } from "../../../src/host/firecracker/firecracker.ts"
import { rootArgs } from "../../../src/host/qemu/argv.ts"
import { qemu } from "../../../src/host/qemu/qemu.ts"
import { requireHostSocket, requireJailSocket } from "../../../src/host/vmm/socketPaths.ts"
import type { Disk, Vmm } from "../../../src/host/vmm/vmm.ts"
import { parseSpec } from "../../../src/inputs/plugin/definition.ts"
import { nameFromFile } from "../../../src/inputs/plugin/resolved.ts"
import { isDisk } from "../../../src/inputs/schema/vm.ts"
import { vmLayout } from "../../../src/store/state/places.ts"
import { planBoot, plannedFiles, plannedSnapshot, planSteps } from "../../../src/supervisor/boot/plan.ts"
import { requireSocketPaths } from "../../../src/supervisor/boot/vmmSockets.ts"
import { endedWell, exitText, neverStarted, panicOf } from "../../../src/vm/exit.ts"

const spec = (fields: object = {}) => parseSpec({ kernel: "/k", bootArgs: "quiet", ...fields }, { path: "", text: "" })
const found = (drives: object[]) =>
  spec({ drives }).drives.flatMap((drive) => (isDisk(drive) ? [] : [{ ...drive, device: false }]))
const vmm = { bootArgs: (_: string, disks: readonly Disk[]) => [...rootArgs(disks), "tsc=1"] }
const bootOf = (drives: object[], id = "vm") =>
  planBoot(spec(), plannedFiles(spec(), found(drives), undefined), { id, vmm, program: {}, confinement: undefined })
const argsOf = (drives: object[]) => bootOf(drives).bootArgs

test.each([
  ["no drive", [], "quiet tsc=1"],
  ["a drive that is not root", [{ path: "/a" }], "quiet tsc=1"],
  ["a root drive", [{ path: "/a", root: true }], "quiet root=/dev/vda rw tsc=1"],
  [
    "a read-only second one",
    [{ path: "/a" }, { path: "/b", root: true, readonly: true }],
    "quiet root=/dev/vda ro tsc=1",
  ],
])("with %s the command line is right", (_, drives, line) => expect(argsOf(drives)).toBe(line))

test("the root drive comes first, whichever place it has in the plugin", () => {
  const drives = [{ path: "/a" }, { path: "/b", id: "b" }, { path: "/c", root: true }]
  expect(bootOf(drives).disks.map(({ id }) => id)).toEqual(["disk2", "disk0", "b"])
})

test("disks without an id are numbered", () => {
  expect(bootOf([{ path: "/a", id: "one" }, { path: "/b" }]).disks.map(({ id }) => id)).toEqual(["one", "disk1"])
})

const layout = vmLayout({ state: "/s", runtime: "/r" }, "vm-1")
const program = { path: "/bin/qemu", version: [7, 2] } as const
const chosen = { vmm: qemu, program }

test("a plan names every path and the whole command", () => {
  const text = planSteps(layout, chosen, { boot: bootOf([], "vm-1") }).join("\n")
  for (const part of [
    "/s/vms/vm-1",
    "/r/vm-1/qmp.sock",
    "/s/vms/vm-1/stage",
    "/bin/qemu -name vm-1",
    "-append 'quiet tsc=1'",
  ])
    expect(text).toContain(part)
  expect(text).not.toMatch(/jail|cgroup/)
})

test("a plan with a jail tells where it is, whose, and what is in it", () => {
  const root = hostPath("/s/jail/qemu/vm-1/root")
  const drives = [
    { path: "/a", id: "data" },
    { path: "/b", readonly: true },
    { path: "/dev/sdx", id: "raw" },
  ]
  const planned = plannedFiles(
    spec({ initrd: "/i" }),
    found(drives).map((drive) => ({ ...drive, device: drive.id === "raw" })),
    root,
  )
  expect(planned.kernel).toEqual({ host: hostPath(`${root}/kernel`), jail: jailPath("/kernel") })
  const boot = planBoot(spec(), planned, { id: "vm-1", vmm, program: {}, confinement: { root, uid: 7, gid: 8 } })
  expect([boot.kernel, boot.initrd, ...boot.disks.map(({ path }) => path)].map(String)).toEqual([
    ...["/kernel", "/initrd", "/disk0", "/disk1", "/disk2"],
  ])
  // QEMU opens them before it is in its jail.
  expect(qemu.launch(program, boot, layout).argv).toContain(`${root}/kernel`)
  const text = planSteps(layout, chosen, { boot, cgroup: "/sys/fs/cgroup/banger/vm-1" }).join("\n")
  for (const part of [
    "the uid 7",
    "move it to /s/jail",
    "data as private copies; raw as device nodes",
    "cgroup/banger/vm-1",
    "-runas 7:8",
  ])
    expect(text).toContain(part)
})

test("a plan says that a bridge of the user's is there, and in which VLAN its tap is", () => {
  const network = { tap: "bgrabcd1234", mac: "02:00:00:00:00:01", ports: [], netns: undefined, mtu: undefined }
  const boot = { ...bootOf([], "vm-1"), network }
  const steps = (vlan?: number) => planSteps(layout, chosen, { boot, bridge: { bridge: "br0", vlan } })
  expect(steps()).toContain("lease the MAC 02:00:00:00:00:01 on br0, a bridge that is there")
  expect(steps()).toContain("make the nftables rules of the tap bgrabcd1234, and the tap on br0")
  expect(steps(20).join("\n")).toContain("and the tap on br0 in VLAN 20\n")
  expect(steps().join("\n")).not.toContain("make the bridge")
})

test.each([
  ["in a jail", hostPath("/s/jail/firecracker/vm-1/root"), undefined, "state /restore/state, memory /restore/memory"],
  ["without a jail", undefined, undefined, "state /snap/state, memory /snap/memory"],
  ["by a program of the user's", undefined, "/u.sock", "state /snap/state, memory from the program at /u.sock"],
])("a plan of a restore tells what is loaded, %s", (_, root, uffd, files) => {
  const planned = { ...plannedFiles(spec(), [], root), restore: plannedSnapshot("/snap", uffd, root) }
  const confinement = root && { root, uid: 7, gid: 8 }
  const boot = planBoot(spec(), planned, { id: "vm-1", vmm, program: {}, confinement })
  const steps = (again: boolean) => planSteps(layout, chosen, { boot, restore: { dir: "/snap", again } })
  const text = steps(false).join("\n")
  expect(text).toContain("note that the snapshot /snap is restored: a second restore of it is refused")
  expect(text).toContain(`load the snapshot (${files}) instead of booting, and let its guest run on`)
  expect(text.includes("the snapshot's state and memory and what")).toBe(root !== undefined)
  expect(steps(true).join("\n")).toContain("others may be restored from it too")
  const order = ["note that", "start qemu", "load the snapshot", "run postBoot"].map((part) => text.indexOf(part))
  expect(order.toSorted((a, b) => a - b)).toEqual(order)
})

const socketsOf = (vmm: Vmm, state: string, options: { jailed: boolean; firecracker?: object }) => {
  const layout = vmLayout({ state, runtime: "/r" }, "vm-1")
  requireSocketPaths({ vmm, program: { ...program, path: "/bin/vmm" } }, { layout, firecracker: {}, ...options })
}

test("a socket path has at most 107 bytes, as this host sees it and as the VMM does", () => {
  requireHostSocket(hostPath(`/${"x".repeat(106)}`), "BANGER_RUNTIME_DIR")
  for (const require of [
    () => requireHostSocket(hostPath(`/${"x".repeat(107)}`), "BANGER_RUNTIME_DIR"),
    () => requireJailSocket(jailPath(`/${"x".repeat(107)}`), "BANGER_RUNTIME_DIR"),
  ])
    expect(require).toThrow("has 108 bytes; 107 is the most")
})

test("in a jail the VMM's own sockets have short paths; the vsock's is also the host's to reach", () => {
  const deep = `/${"s".repeat(100)}`
  const vsock = { jailed: true, firecracker: { vsock: { guest_cid: 3 } } }
  socketsOf(firecracker, deep, { jailed: true })
  socketsOf(firecracker, "/s", vsock)
  expect(() => socketsOf(firecracker, deep, vsock)).toThrow(`${deep}/jail/vmm/vm-1/root/vsock.sock has 131 bytes`)
  socketsOf(qemu, deep, { jailed: true })
})

test("without a jail the VMM binds its sockets in the runtime directory", () => {
  const runtime = `/${"r".repeat(91)}`
  const layout = vmLayout({ state: "/s", runtime }, "vm-1")
  const chosen = { vmm: firecracker, program }
  requireSocketPaths(chosen, { layout, jailed: false, firecracker: {} })
  // `vsock.sock` is longer than `api.sock`.
  expect(() => requireSocketPaths(chosen, { layout, jailed: false, firecracker: { vsock: { guest_cid: 3 } } })).toThrow(
    `${runtime}/vm-1/vsock.sock has 108 bytes; 107 is the most`,
  )
})

test.each([
  ["/p/hello.ts", "hello"],
  ["/p/My Plugin_2.ts", "my-plugin-2"],
  ["/p/-x-.ts", "x"],
  ["/p/é.ts", "vm"],
  [`/p/${"a".repeat(80)}.ts`, "a".repeat(63)],
])("a plugin without a name takes that of its file: %s is %s", (path, name) => expect(nameFromFile(path)).toBe(name))

const exit = (fields: Partial<Exit>): Exit => ({
  reason: "guest reset",
  requested: false,
  code: 0,
  signal: null,
  panic: undefined,
  detail: undefined,
  ...fields,
})
test.each([
  [exit({}), true, "guest reset"],
  [exit({ requested: true }), true, "guest reset, as asked"],
  [exit({ reason: "guest powered off" }), true, "guest powered off"],
  [exit({ panic: "no init" }), false, "guest reset: kernel panic: no init"],
  [exit({ reason: "guest panicked" }), false, "guest panicked"],
  [exit({ reason: "killed", code: null, signal: "SIGKILL", requested: true }), true, "killed (SIGKILL), as asked"],
  [exit({ reason: "killed", code: null, signal: "SIGKILL" }), false, "killed (SIGKILL)"],
  [exit({ reason: "crashed", code: 1, detail: "out of memory" }), false, "crashed (exit code 1): out of memory"],
  [exit({ reason: "stopped" }), false, "stopped"],
  [neverStarted("no luck"), false, "failed to start"],
] as const)("an end is judged and told %#", (ended, well, text) => {
  expect([endedWell(ended), exitText(ended)]).toEqual([well, text])
})

const PANIC = "Kernel panic - not syncing: no init\n"
test.each([
  ["guest panicked", PANIC, "no init"],
  ["guest panicked", `${PANIC}some daemon's last line\n`, "no init"],
  ["guest panicked", "", undefined],
  ["guest reset", PANIC, "no init"],
  ["killed", PANIC, "no init"],
  ["guest reset", `${PANIC}goes on\n`, undefined],
  ["guest powered off", PANIC, undefined],
] as const)("of a guest whose end is %p the console %p tells the panic %p", (why, text, words) => {
  expect(panicOf(why, text)).toBe(words)
})
