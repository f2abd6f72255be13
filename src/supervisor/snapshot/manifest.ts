import { existsSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import * as v from "valibot"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { type HostPath, hostPath } from "../../base/terms/path.ts"
import type { Chosen } from "../../host/vmm/vmm.ts"
import type { Spec } from "../../inputs/schema/vm.ts"

const MANIFEST = "snapshot.json"

/** What a snapshot says of itself. */
export const manifestSchema = v.strictObject({
  schema: v.literal(1),
  vmm: v.literal("firecracker"),
  version: v.tuple([v.number(), v.number()]),
  name: v.string(),
  takenAt: v.number(),
})
export type Manifest = v.InferOutput<typeof manifestSchema>

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
    return existsSync(path) ? { ...drive, path } : drive
  })
}

/** Throws a failure when a directory is not a whole snapshot, or one that this VMM cannot restore. */
export function checkSnapshot(dir: string, { vmm, program }: Chosen): void {
  const manifest = readManifest(dir)
  if (vmm.name !== "firecracker") {
    const hint = "use --vmm firecracker"
    throw new Failure("UNSUPPORTED", `--restore: ${vmm.name} has no snapshots`, { hint, subject: dir })
  }
  const [major, minor] = program.version
  if (manifest.version[0] === major && manifest.version[1] === minor) return
  const [taken, here] = [manifest.version, program.version].map((version) => version.join("."))
  const message = `--restore: ${dir} cannot be restored: it was taken with Firecracker ${taken}, and this is ${here}`
  throw new Failure("UNSUPPORTED", message, { hint: `use Firecracker ${taken}, or take it anew`, subject: dir })
}

// --- internal ---

function readManifest(dir: string): Manifest {
  try {
    return v.parse(manifestSchema, JSON.parse(readFileSync(manifestPath(dir), "utf8")))
  } catch (error) {
    const message = `--restore: ${dir} is not a whole snapshot: ${messageOf(error)}`
    throw new Failure("BAD_FILE", message, { hint: "banger snapshot makes one", subject: dir, cause: error })
  }
}
