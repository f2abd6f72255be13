import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { CpioEntry } from "./cpio.ts"
import { type KernelModule, loadOrder, type ModuleSource } from "./modules.ts"

const own = import.meta.dirname

/**
 * The drivers of each device. A key is what /init finds in `/sys/bus/virtio/devices/<device>/device`: the numbers of the
 * virtio specification for network, block and socket devices. `always` has the bus itself, the filesystem of root disks, and
 * the raw sockets that DHCP needs. `pvpanic` tells QEMU of a kernel panic.
 */
const drivers = {
  always: ["virtio_mmio", "ext4", "af_packet"],
  "0x0001": ["virtio_net"],
  "0x0002": ["virtio_blk"],
  "0x0013": ["vmw_vsock_virtio_transport"],
  pvpanic: ["pvpanic_mmio"],
} as const

/** Everything that the guest starts from: busybox, /init, and the drivers that it may need. */
export function initramfs(busybox: Uint8Array, applets: readonly string[], modules: ModuleSource): CpioEntry[] {
  return [
    ...["bin", "dev", "etc", "etc/udhcpc", "modules", "newroot", "proc", "root", "run", "sys", "tmp", "usr"].map(
      directory,
    ),
    ...["sbin", "usr/bin", "usr/sbin"].map((path) => symlink(path, "/bin")),
    { path: "dev/console", type: "device", major: 5, minor: 1 },
    { path: "bin/busybox", type: "file", mode: 0o755, data: busybox },
    ...applets.map((applet) => symlink(`bin/${applet}`, "busybox")),
    script("init", "init"),
    script("bin/run-job", "run-job"),
    script("bin/end-job", "end-job"),
    script("etc/udhcpc/default.script", "udhcpc"),
    { path: "etc/inittab.common", type: "file", data: source("inittab") },
    { path: "etc/passwd", type: "file", data: Buffer.from("root::0:0:root:/root:/bin/sh\n") },
    { path: "etc/group", type: "file", data: Buffer.from("root:x:0:\n") },
    ...driverFiles(modules),
  ]
}

// --- internal ---

function directory(path: string): CpioEntry {
  return { path, type: "directory" }
}

function symlink(path: string, target: string): CpioEntry {
  return { path, type: "symlink", target }
}

function script(path: string, name: string): CpioEntry {
  return { path, type: "file", mode: 0o755, data: source(name) }
}

function source(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(own, name)))
}

/** Names begin with a number, so that a shell's `*.ko` lists the drivers in load order. */
function driverFiles(modules: ModuleSource): CpioEntry[] {
  const always = loadOrder(modules, drivers.always)
  const loaded = new Set(always.map(({ name }) => name))
  return Object.entries(drivers).flatMap(([group, wanted]) => {
    const ordered = group === "always" ? always : loadOrder(modules, wanted, loaded)
    return [directory(`modules/${group}`), ...ordered.map((module, index) => driver(group, module, index))]
  })
}

function driver(group: string, { name, data }: KernelModule, index: number): CpioEntry {
  return { path: `modules/${group}/${String(index).padStart(2, "0")}-${name}.ko`, type: "file", data }
}
