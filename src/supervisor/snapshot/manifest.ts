import { existsSync } from "node:fs"
import { join, resolve } from "node:path"
import * as v from "valibot"
import { O, S } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { isType, openNamed, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { type HostPath, hostPath } from "../../base/terms/path.ts"
import type { Chosen } from "../../host/vmm/vmm.ts"
import type { Spec } from "../../inputs/schema/vm.ts"

import { requireOwnPlace } from "./place.ts"

const MANIFEST = "snapshot.json"

/** A larger file than this is not a manifest. */
const MANIFEST_MAX_BYTES = 64 * 1024

const common = {
  vmm: v.literal("firecracker"),
  version: v.tuple([v.number(), v.number()]),
  name: v.string(),
  takenAt: v.number(),
}

const manifestSchema = v.strictObject({
  schema: v.literal(2),
  ...common,
  /** The snapshot itself, wherever its directory is moved or copied to. */
  id: v.pipe(v.string(), v.uuid()),
  /** What the guest has of its network; null: it has no network card. */
  network: v.nullable(
    v.strictObject({
      /** Absent where the guest has it from others, on a bridge of the user's. */
      address: v.optional(v.pipe(v.string(), v.ipv4())),
      mac: v.pipe(v.string(), v.regex(/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/)),
    }),
  ),
})
/** What a snapshot says of itself. */
export type Manifest = v.InferOutput<typeof manifestSchema>

/** What older bangers wrote: read, never written. */
const olderSchema = v.strictObject({ schema: v.literal(1), ...common })

/** A snapshot that can be restored here. */
export interface Snapshot {
  /** Its directory, an absolute path. */
  readonly dir: string
  readonly id: string
  /** Undefined where an older banger took it, which did not tell. */
  readonly network: Manifest["network"] | undefined
}

/** The path of a directory's manifest. It is written last: a directory that has one is whole. */
export function manifestPath(dir: string): string {
  return join(dir, MANIFEST)
}

/** Where a snapshot's files are on this host. */
export function snapshotFiles(dir: string): { readonly state: HostPath; readonly memory: HostPath } {
  return { state: hostPath(resolve(dir, "state")), memory: hostPath(resolve(dir, "memory")) }
}

/** The name that the drive at this place of a plugin has in its VM's jail, and in a snapshot's directory. */
export function savedDisk(index: number): string {
  return `disk${index}`
}

/** The drives of a spec, each as it was saved where the snapshot has it. */
export function savedDisks(drives: Spec["drives"], dir: string): Spec["drives"] {
  return drives.map((drive, index) => {
    const path = join(dir, savedDisk(index))
    // What its guest has written there is nothing to judge a format by.
    return existsSync(path) ? { ...drive, path, format: "raw" } : drive
  })
}

/** The snapshot in a directory. Throws a failure when it is not a whole one, or one that this VMM cannot restore. */
export function findSnapshot(dir: string, { vmm, program }: Chosen): Snapshot {
  const { manifest, snapshot } = readManifest(dir, "--restore")
  if (vmm.name !== "firecracker") {
    const hint = "use --vmm firecracker"
    throw new Failure("UNSUPPORTED", `--restore: ${vmm.name} has no snapshots`, { hint, subject: dir })
  }
  const [major, minor] = program.version
  if (manifest.version[0] === major && manifest.version[1] === minor) return snapshot
  const [taken, here] = [manifest.version, program.version].map((version) => version.join("."))
  const message = `--restore: ${dir} cannot be restored: it was taken with Firecracker ${taken}, and this is ${here}`
  throw new Failure("UNSUPPORTED", message, { hint: `use Firecracker ${taken}, or take it anew`, subject: dir })
}

/** The snapshot in a directory that another one is to be written on. Throws a failure when it is not a whole one. */
export function findBase(dir: string): Snapshot {
  return readManifest(dir, "base").snapshot
}

// --- internal ---

interface Read {
  readonly manifest: Pick<Manifest, "version">
  readonly snapshot: Snapshot
}

function readManifest(dir: string, role: string): Read {
  requireOwnPlace(dir, role)
  try {
    const text = readText(manifestPath(dir))
    const manifest = v.parse(v.variant("schema", [manifestSchema, olderSchema]), JSON.parse(text))
    // Of an older one, every copy has the same text.
    const id = manifest.schema === 2 ? manifest.id : new Bun.CryptoHasher("sha256").update(text).digest("hex")
    const network = manifest.schema === 2 ? manifest.network : undefined
    return { manifest, snapshot: { dir: resolve(dir), id, network } }
  } catch (error) {
    const message = `${role}: ${dir} is not a whole snapshot: ${messageOf(error)}`
    throw new Failure("BAD_FILE", message, { hint: "banger snapshot makes one", subject: dir, cause: error })
  }
}

function readText(path: string): string {
  return withDescriptor(openNamed(path, O.RDONLY | O.NONBLOCK), (fd) => {
    if (!isType(statDescriptor(fd), S.IFREG)) throw new Failure("BAD_FILE", `${path} is not a regular file`)
    return new TextDecoder().decode(readAll(fd, MANIFEST_MAX_BYTES))
  })
}
