// Makes what a host boots from: its kernel, unpacked, and an initramfs with the drivers of its disk. Arguments: the directory of
// the root file system, and where to put `vmlinux` and `initrd`.
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { extractVmlinux } from "../../src/inputs/kernel/vmlinux.ts"
import { writeCpio } from "../guest/cpio.ts"
import { loadOrder, openModuleTree } from "../guest/modules.ts"

const [root = "", out = ""] = process.argv.slice(2)
const read = (path: string) => new Uint8Array(readFileSync(path))

const kernel = readdirSync(join(root, "boot")).find((file) => file.startsWith("vmlinuz-"))
if (kernel === undefined) throw new Error(`${root}/boot has no vmlinuz-*`)
const tree = openModuleTree(join(root, "lib/modules", kernel.slice("vmlinuz-".length)))
const modules = loadOrder(tree, ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"])

writeFileSync(join(out, "vmlinux"), extractVmlinux(read(join(root, "boot", kernel))))
writeFileSync(
  join(out, "initrd"),
  writeCpio([
    ...["bin", "dev", "modules", "proc", "root"].map((path) => ({ path, type: "directory" as const })),
    { path: "dev/console", type: "device", major: 5, minor: 1 },
    { path: "bin/busybox", type: "file", mode: 0o755, data: read(join(root, "bin/busybox")) },
    { path: "init", type: "file", mode: 0o755, data: read(join(import.meta.dirname, "init")) },
    ...modules.map(({ name, data }, index) => {
      const number = String(index).padStart(2, "0")
      return { path: `modules/${number}-${name}.ko`, type: "file" as const, data }
    }),
  ]),
)
