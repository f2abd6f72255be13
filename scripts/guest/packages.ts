import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { fetchPackage, lookUp, type Package, refreshLists } from "./apt.ts"
import { run } from "./run.ts"

/** Debian's name for the kernel made for virtual machines, and Ubuntu's. */
const kernelNames = ["linux-image-cloud-amd64", "linux-image-virtual"]

/** The packages of a guest. Fetches missing package lists, once. */
export function findPackages(): Package[] {
  if (!Bun.which("apt-cache") || !Bun.which("dpkg-deb")) {
    throw new Error(
      "a guest is made from Debian's or Ubuntu's packages, and this system has no apt; run this on one that has",
    )
  }
  const known = lookUpAll()
  if (known) return known
  refreshLists()
  const found = lookUpAll()
  if (found) return found
  throw new Error(
    `apt has no ${kernelNames.join(" or ")}, or no busybox-static; add the distribution's main repository to it`,
  )
}

/** Unpacks the packages into a directory, and installs nothing. */
export function unpackPackages(packages: readonly Package[], cache: string, directory: string): void {
  for (const file of fetchAll(packages, cache)) run(["dpkg-deb", "--extract", file, directory])
}

/** The kernel of an unpacked tree, its modules, and busybox; newer releases have all but /boot under /usr. */
export function findInTree(directory: string): { kernel: string; modules: string; busybox: string } {
  const kernel = readdirSync(join(directory, "boot")).find((file) => file.startsWith("vmlinuz-"))
  if (!kernel) throw new Error("the kernel's package has no boot/vmlinuz-*")
  const modules = `lib/modules/${kernel.slice("vmlinuz-".length)}`
  return {
    kernel: join(directory, "boot", kernel),
    modules: inRootOrUsr(directory, modules),
    busybox: inRootOrUsr(directory, "bin/busybox"),
  }
}

// --- internal ---

function lookUpAll(): Package[] | undefined {
  const meta = kernelNames.map(lookUp).find((found) => found !== undefined)
  const image = dependency(meta, /^linux-image-\d/)
  const busybox = lookUp("busybox-static")
  if (!image || !busybox) return undefined
  // Ubuntu ships a kernel's modules in a package of their own.
  const modules = dependency(image, /^linux-modules-\d/)
  return modules ? [image, modules, busybox] : [image, busybox]
}

function dependency(of: Package | undefined, pattern: RegExp): Package | undefined {
  const name = of?.depends.find((depends) => pattern.test(depends))
  return name ? lookUp(name) : undefined
}

/** A mirror drops a version when a newer one comes out: so a failure may only mean that the package lists are old. */
function fetchAll(packages: readonly Package[], cache: string): string[] {
  const fetchEach = (from: readonly Package[]) => from.map((found) => fetchPackage(found, cache))
  try {
    return fetchEach(packages)
  } catch (cause) {
    if (process.getuid?.() !== 0) throw cause
    refreshLists()
    return fetchEach(lookUpAll() ?? packages)
  }
}

function inRootOrUsr(directory: string, path: string): string {
  const found = [join(directory, path), join(directory, "usr", path)].find((candidate) => existsSync(candidate))
  if (!found) throw new Error(`the packages have no /${path}, neither in the root nor in /usr`)
  return found
}
