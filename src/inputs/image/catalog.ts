import { Failure, usageError } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"

/** One thing that `banger get` knows, for one architecture. */
export interface Item {
  /** Its name here, with its exact version. */
  readonly name: string
  readonly about: string
  /** Where its makers have it. */
  readonly url: string
  /** Its file name on a mirror. */
  readonly file: string
  readonly sha256: string
  /** Of an archive: the files that are kept, by their names here. */
  readonly members?: Readonly<Record<string, string>> | undefined
}

/** Architectures as these names have them. */
type Arch = "x86_64" | "aarch64"

/** A name that follows the newest of its kind. */
const SHORT: Readonly<Record<string, string>> = {
  firecracker: "firecracker-1.16.1",
  "vmlinux-6.1": "vmlinux-6.1.155",
}

/**
 * What `banger get` knows, by architecture. The sums are those of the makers' files as we tried them: a download with
 * another sum is refused.
 */
export function catalog(arch: Arch = process.arch === "arm64" ? "aarch64" : "x86_64"): readonly Item[] {
  const ci = `https://s3.amazonaws.com/spec.ccfc.min/firecracker-ci/v1.15/${arch}`
  const releases = "https://github.com/firecracker-microvm/firecracker/releases/download"
  return [
    {
      name: "firecracker-1.16.1",
      about: "Firecracker and its jailer, of one release",
      url: `${releases}/v1.16.1/firecracker-v1.16.1-${arch}.tgz`,
      file: `firecracker-v1.16.1-${arch}.tgz`,
      sha256: {
        x86_64: "382a02a869e4d6d5cb14c40577f9545e8458021ea8b0b2d3fc10ec14d9c242e6",
        aarch64: "8d0e69f6d6f9a1724551f607f18504052c16c1828ee3d4d7b6e6c73380871e0e",
      }[arch],
      members: { firecracker: `firecracker-v1.16.1-${arch}`, jailer: `jailer-v1.16.1-${arch}` },
    },
    {
      name: "vmlinux-6.1.155",
      about: "a guest kernel that Firecracker's own tests boot",
      url: `${ci}/vmlinux-6.1.155`,
      file: `vmlinux-6.1.155-${arch}`,
      sha256: {
        x86_64: "e20e46d0c36c55c0d1014eb20576171b3f3d922260d9f792017aeff53af3d4f2",
        aarch64: "e3544b10603acbf3db492cb52e000d22ba202cb4b63b9add027565683e11c591",
      }[arch],
    },
    {
      name: "ubuntu-24.04",
      about: "a root file system to read only (squashfs): Ubuntu 24.04, as Firecracker's own tests boot it",
      url: `${ci}/ubuntu-24.04.squashfs`,
      file: `ubuntu-24.04-${arch}.squashfs`,
      sha256: {
        x86_64: "68321e0482baeb3844dafe8a6b08a6902401a7afc41fbfd8c3d9ea08aadd244f",
        aarch64: "0efb6a3ff2982baa6ca7e3d940966516ba7ddd2df5deb3e6c2161d369a15d608",
      }[arch],
    },
  ]
}

/** Names an image may have; `ls`, `rm` and `path` mean something else to `banger get`. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/
const TAKEN = ["ls", "rm", "path"]

/** The exact name for a short or exact one. Throws a failure for anything that cannot be the name of an image. */
export function exactName(name: string): string {
  if (!NAME.test(name) || TAKEN.includes(name)) {
    const hint = "a name has a-z, 0-9, ., _ and -, at most 64; not ls, rm or path"
    throw new Failure("BAD_FILE", `${JSON.stringify(name)} cannot be the name of an image`, { hint, subject: name })
  }
  return SHORT[name] ?? name
}

/** The short names that lead to an exact one. */
export function shortNames(exact: string): readonly string[] {
  return Object.keys(SHORT).filter((name) => SHORT[name] === exact)
}

/** The catalog's item of this name. Throws a usage failure with the nearest name. */
export function findItem(name: string): Item {
  const exact = exactName(name)
  const items = catalog()
  const found = items.find((item) => item.name === exact)
  if (found !== undefined) return found
  const names = [...items.map((item) => item.name), ...Object.keys(SHORT)]
  const near = nearest(name, names)
  const hint =
    near === undefined
      ? "banger get ls lists what is known; an image of your own: --from FILE"
      : `did you mean ${near}?`
  throw usageError(`banger knows no image ${name}`, { hint, subject: name })
}
