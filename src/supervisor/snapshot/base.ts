import { Failure } from "../../base/terms/failure.ts"
import { parseRelease, requireOnBase } from "../../host/firecracker/version.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import type { VmRecord } from "../../store/state/records.ts"
import { findBase, type Snapshot } from "./manifest.ts"

/** A VM that is to be saved on a base. */
export interface OnBase {
  readonly record: VmRecord
  readonly spec: Pick<Spec, "memory" | "firecracker">
  /** Firecracker's, as it tells it. */
  readonly version: string
}

/**
 * The snapshot that a VM's next one is written on. Throws a failure that says why it cannot be: the VM tracks no changes, its
 * Firecracker cannot write them on a base, or its changes are not since this snapshot.
 */
export function requireBase(dir: string, { record, spec, version }: OnBase): Snapshot {
  const setting = "firecracker.machine.track_dirty_pages"
  if (spec.firecracker.machine?.track_dirty_pages !== true) {
    const hint = `set it to true in the plugin and boot the VM again, or leave the base out`
    throw new Failure("UNSUPPORTED", `base: ${record.name} runs without ${setting}`, { subject: setting, hint })
  }
  const release = parseRelease("Firecracker", `Firecracker v${version}`)
  if (release !== undefined) requireOnBase(release, spec.memory)
  const base = findBase(dir)
  if (record.baseline === base.id) return base
  const message = `base: ${dir} is not the last snapshot of ${record.name}, nor what it was restored from`
  throw new Failure("WRONG_STATE", message, { subject: dir, hint: "name that one, or leave the base out" })
}
