import { Failure } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { hostPath, withoutJail } from "../../base/terms/path.ts"
import { listed } from "../../base/terms/printable.ts"
import { requireImage, stageImage } from "../../host/jail/running.ts"
import type { Devices, PresentDrive } from "../../host/vmm/vmm.ts"
import type { Session } from "../../vm/session.ts"
import { openRunningJail, settle, writeChange } from "./settle.ts"

// The room changes: what changes of a VM while it runs: its drives, its limits, its memory.
// The rule: a change is on the journal before anything of it is made; where one was cut short, the VMM says which file it
// uses, and the other one goes.

/** A running VM whose devices change. */
export interface ChangingVm {
  readonly session: Pick<Session, "layout" | "journal">
  readonly devices: Devices
}

/**
 * Gives a drive of a running VM another image: in a jail a private copy of it (shared blocks where the file system can)
 * under the name that the drive's file has there, without one the image itself. The file that the drive had is released.
 * Throws a failure, with the drive as it was and nothing left, when the image or the VMM refuses.
 */
export async function replaceDrive(
  vm: ChangingVm,
  id: string,
  { image, signal }: { readonly image: string; readonly signal: AbortSignal },
): Promise<void> {
  await settle(vm)
  const { session, devices } = vm
  const { path } = requireDrive(await devices.drives(), id)
  using jail = openRunningJail(session)
  if (jail === undefined) {
    requireImage(image, { setting: `drives.${id}` })
    return devices.reopenDrive(id, withoutJail(hostPath(image)).jail)
  }
  const file = nameInJail(path, id)
  const next = `${file}.${crypto.randomUUID().slice(0, 8)}`
  writeChange(session, { drive: id, file, next })
  try {
    await stageImage(jail, next, image, { setting: `drives.${id}`, signal })
    await devices.reopenDrive(id, jail.placed(next).jail)
  } catch (error) {
    // Where the VMM did not answer, this or a later one finds out what it did.
    await settle(vm).catch(() => {})
    throw error
  }
  await settle(vm)
}

/** The drive of this id. Throws a failure that says which there are. */
export function requireDrive(drives: readonly PresentDrive[], id: string): PresentDrive {
  const found = drives.find((drive) => drive.id === id)
  if (found !== undefined) return found
  const ids = drives.map((drive) => drive.id)
  const like = nearest(id, ids)
  const message = `no drive is called ${JSON.stringify(id)}${like === undefined ? "" : `; did you mean ${like}?`}`
  throw new Failure("BAD_PLUGIN", message, { hint: `the drives are ${listed(ids)}`, subject: id })
}

/** The VMM says where its file is: a name in its own jail, whichever it chooses. */
export function nameInJail(path: string | null, id: string): string {
  if (path?.startsWith("/")) return path.slice(1)
  const message = `drive ${id} has no file in the jail: ${path === null ? "something else serves it" : path}`
  throw new Failure("UNSUPPORTED", message, { subject: id })
}
