import { resolve } from "node:path"
import { parseArgs } from "node:util"
import { parseFile, type RootfsFile } from "./rootfs.ts"

export const usage = `Makes a small Linux guest from the distribution's packages: a kernel and an initrd, in dist/guest.

Usage: scripts/guest-image [--out DIR] [--rootfs SIZE [FILE[:PATH]...]]

  --out DIR       where to write (default: dist/guest)
  --rootfs SIZE   also make rootfs.ext4 of that size, like 64M, with busybox and the FILEs in it
  FILE[:PATH]     a file for the rootfs, at PATH (default: /root/FILE)
  --help          this text

Nothing is installed on the host, and root is not needed. docs/guest-image.md says what the guest does.
`

export type Options = { out: string; help: boolean; rootfs?: { size: string; files: RootfsFile[] } }

export function parseOptions(argv: readonly string[], root: string): Options {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { out: { type: "string" }, rootfs: { type: "string" }, help: { type: "boolean", default: false } },
  })
  const out = values.out === undefined ? resolve(root, "dist/guest") : resolve(values.out)
  if (values.rootfs !== undefined) {
    return { out, help: values.help, rootfs: { size: values.rootfs, files: positionals.map(parseFile) } }
  }
  if (positionals.length > 0)
    throw new Error(`${positionals[0]} has nowhere to go without --rootfs; give a size for it, like --rootfs 64M`)
  return { out, help: values.help }
}
