import { CARD } from "../../base/terms/address.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Present } from "../../host/firecracker/replies.ts"
import { isDisk, type Spec } from "../../inputs/schema/vm.ts"
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

/**
 * Throws a failure when a VM has other network cards than its plugin gives it: whoever restores it has no tap for one that
 * was added, and one for the card that was taken out.
 */
export function requireOwnCards(cards: Present["network-interfaces"], { network }: Pick<Spec, "network">): void {
  const plugged = cards.find(({ iface_id }) => iface_id !== CARD)?.iface_id
  if (plugged !== undefined) {
    const message = `network card ${plugged} was added while the VM ran, and cannot be saved`
    throw new Failure("UNSUPPORTED", message, {
      hint: `remove it first: ctx.network.remove("${plugged}")`,
      subject: plugged,
    })
  }
  if (network === false || network.mode === "user" || cards.length > 0) return
  const message = `network card ${CARD} was taken out while the VM ran: a snapshot without it cannot be restored`
  throw new Failure("UNSUPPORTED", message, { subject: CARD })
}

/** Throws a failure that names the setting with which a VM cannot be saved. */
export function requireSavable({ firecracker, drives }: Pick<Spec, "firecracker" | "drives">): void {
  const disk = drives.find(isDisk)?.persist
  if (disk !== undefined) {
    const message = `the disk ${disk} persists: what is written to it after a snapshot would be under a guest that was restored`
    const hint = `stop the VM and keep a copy of the disk: banger disk export ${disk} FILE`
    throw new Failure("UNSUPPORTED", message, { hint, subject: disk })
  }
  for (const [setting, why] of Object.entries(UNSAVABLE)) {
    if ((firecracker[setting as keyof typeof UNSAVABLE]?.length ?? 0) === 0) continue
    const message = `firecracker.${setting}: a VM with it cannot be saved: ${why}`
    throw new Failure("UNSUPPORTED", message, { subject: `firecracker.${setting}` })
  }
}
