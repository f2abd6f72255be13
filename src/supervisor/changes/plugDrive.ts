import { Failure } from "../../base/terms/failure.ts"
import { hostPath, withoutJail } from "../../base/terms/path.ts"
import { requireImage, stageImage } from "../../host/jail/running.ts"
import { type ChangingVm, nameInJail, requireDrive } from "./replaceDrive.ts"
import { openRunningJail, settle, writeChange } from "./settle.ts"

/** What the names of files of such drives in the jail begin with. */
export const PLUGGED = "plugged-"

/** A drive that a running VM is to have too. */
export interface NewDrive {
  readonly id: string
  readonly path: string
  readonly readonly: boolean
}

/**
 * Plugs a drive into a running VM: in a jail a private copy of the image, without one the image itself. Throws a failure,
 * with nothing left, when the image or the VMM refuses.
 */
export async function addDrive(
  vm: ChangingVm,
  { id, path, readonly }: NewDrive,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  await settle(vm)
  const { session, devices } = vm
  const setting = `drives.${id}`
  if ((await devices.drives()).some((drive) => drive.id === id))
    throw new Failure("BAD_PLUGIN", `a drive is called ${id} already`, { hint: "give it another id", subject: id })
  using jail = openRunningJail(session)
  if (jail === undefined) {
    requireImage(path, { setting })
    return devices.addDrive({ id, path: withoutJail(hostPath(path)).jail, readonly })
  }
  const next = `${PLUGGED}${id}.${crypto.randomUUID().slice(0, 8)}`
  writeChange(session, { drive: id, next })
  try {
    const { jail: placed } = await stageImage(jail, next, path, { setting, signal })
    await devices.addDrive({ id, path: placed, readonly })
  } catch (error) {
    await settle(vm).catch(() => {})
    throw error
  }
  await settle(vm)
}

/** Takes a drive out of a running VM, and releases its file. Throws a failure, with the drive still there, when the VMM refuses. */
export async function removeDrive(vm: ChangingVm, id: string): Promise<void> {
  await settle(vm)
  const { session, devices } = vm
  const { path } = requireDrive(await devices.drives(), id)
  using jail = openRunningJail(session)
  // A file that something else serves, or that no jail has, is not this VM's to release.
  if (jail === undefined || path === null) return devices.removeDrive(id)
  writeChange(session, { drive: id, next: nameInJail(path, id) })
  try {
    await devices.removeDrive(id)
  } catch (error) {
    await settle(vm).catch(() => {})
    throw error
  }
  await settle(vm)
}
