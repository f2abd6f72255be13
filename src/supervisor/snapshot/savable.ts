import { Failure } from "../../base/terms/failure.ts"
import type { Present } from "../../host/firecracker/replies.ts"
import type { Spec } from "../../inputs/schema/vm.ts"
import { PLUGGED } from "../changes/plugDrive.ts"

/** What of a VM cannot be saved, and why. */
const UNSAVABLE = {
  pmem: "its content is not saved with the disks",
  vhost_user: "Firecracker has no snapshots of it",
} as const

/** Throws a failure for a drive that was added while the VM ran: whoever restores it has no file for that. */
export function requireStaged(drives: Present["drives"]): void {
  const plugged = drives.find(({ path_on_host }) => path_on_host?.startsWith(`/${PLUGGED}`))
  if (plugged === undefined) return
  const message = `drive ${plugged.drive_id} was added while the VM ran, and cannot be saved`
  const hint = `remove it first: ctx.drives.remove("${plugged.drive_id}")`
  throw new Failure("UNSUPPORTED", message, { hint, subject: plugged.drive_id })
}

/** Throws a failure that names the setting with which a VM cannot be saved. */
export function requireSavable({ firecracker }: Pick<Spec, "firecracker">): void {
  for (const [setting, why] of Object.entries(UNSAVABLE)) {
    if ((firecracker[setting as keyof typeof UNSAVABLE]?.length ?? 0) === 0) continue
    const message = `firecracker.${setting}: a VM with it cannot be saved: ${why}`
    throw new Failure("UNSUPPORTED", message, { subject: `firecracker.${setting}` })
  }
}
