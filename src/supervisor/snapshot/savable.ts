import { Failure } from "../../base/terms/failure.ts"
import type { Spec } from "../../inputs/schema/vm.ts"

/** What of a VM cannot be saved, and why. */
const UNSAVABLE = {
  pmem: "its content is not saved with the disks",
  vhost_user: "Firecracker has no snapshots of it",
} as const

/** Throws a failure that names the setting with which a VM cannot be saved. */
export function requireSavable({ firecracker }: Pick<Spec, "firecracker">): void {
  for (const [setting, why] of Object.entries(UNSAVABLE)) {
    if ((firecracker[setting as keyof typeof UNSAVABLE]?.length ?? 0) === 0) continue
    const message = `firecracker.${setting}: a VM with it cannot be saved: ${why}`
    throw new Failure("UNSUPPORTED", message, { subject: `firecracker.${setting}` })
  }
}
