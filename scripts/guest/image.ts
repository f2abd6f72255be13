import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { extractVmlinux } from "../../src/inputs/kernel/vmlinux.ts"
import type { Package } from "./apt.ts"
import { writeCpio } from "./cpio.ts"
import { initramfs } from "./initramfs.ts"
import { openModuleTree } from "./modules.ts"
import { type Options, parseOptions, usage } from "./options.ts"
import { findInTree, findPackages, unpackPackages } from "./packages.ts"
import { makeRootfs } from "./rootfs.ts"
import { run } from "./run.ts"
import { sha256OfFile } from "./sha256.ts"
import { isCurrent, readStamp, sourcesSum, writeStamp } from "./stamp.ts"

const repository = join(import.meta.dirname, "../..")

function main(): void {
  const options = parseOptions(process.argv.slice(2), repository)
  if (options.help) {
    console.log(usage)
    return
  }
  const packages = findPackages()
  const made = ingredients(packages, options)
  if (isCurrent(options.out, made)) {
    console.log(`${options.out} is up to date`)
  } else {
    writeStamp(options.out, made, makeGuest(packages, options))
  }
  describe(options.out)
}

function makeGuest(packages: readonly Package[], { out, rootfs }: Options): string[] {
  mkdirSync(out, { recursive: true })
  // Without a stamp the next run knows that this one was cut off.
  rmSync(join(out, "stamp.json"), { force: true })
  const tree = mkdtempSync(join(tmpdir(), "guest-image-"))
  try {
    unpackPackages(packages, join(repository, ".tools/debs"), tree)
    const { kernel, modules, busybox } = findInTree(tree)
    const applets = run([busybox, "--list"])
      .split("\n")
      .filter((applet) => applet !== "" && applet !== "busybox")
    const image = new Uint8Array(readFileSync(kernel))
    writeFileSync(join(out, "vmlinuz"), image)
    writeFileSync(join(out, "vmlinux"), extractVmlinux(image))
    const entries = initramfs(new Uint8Array(readFileSync(busybox)), applets, openModuleTree(modules))
    writeFileSync(join(out, "initrd.img"), writeCpio(entries))
    if (rootfs) makeRootfs(join(out, "rootfs.ext4"), rootfs.size, { busybox, applets, files: rootfs.files })
  } finally {
    rmSync(tree, { recursive: true, force: true })
  }
  return ["vmlinuz", "vmlinux", "initrd.img", ...(rootfs ? ["rootfs.ext4"] : [])]
}

/** Everything that the result depends on, one a line: two runs with the same list make the same bytes. */
function ingredients(packages: readonly Package[], { rootfs }: Options): string[] {
  return [
    ...packages.map(({ name, version, sha256 }) => `package ${name} ${version} ${sha256}`),
    `sources ${sourcesSum()}`,
    ...(rootfs ? [`rootfs ${rootfs.size}`] : []),
    ...(rootfs?.files ?? []).map(({ from, to }) => `file ${to} ${statSync(from).mode & 0o111} ${sha256OfFile(from)}`),
  ]
}

function describe(out: string): void {
  for (const [name, sum] of Object.entries(readStamp(out)?.files ?? {})) {
    console.log(`${sum}  ${String(statSync(join(out, name)).size).padStart(9)}  ${join(out, name)}`)
  }
}

try {
  main()
} catch (error) {
  console.error(`guest-image: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
