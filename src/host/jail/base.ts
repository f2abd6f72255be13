import { basename, dirname } from "node:path"
import { chmodDescriptor } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { mkdirAt, openBeneath, statDescriptor, verified, withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"

/** Who a jail is for. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/**
 * Where a jail is: `<base>/<vmm>/<id>/root`, Firecracker's jailer's own layout. `base` is an absolute path without
 * symlinks, in directories that only root can change.
 */
export interface JailSite {
  readonly base: string
  readonly vmm: string
  readonly id: string
}

/** The root directory of a jail, as the host names it. */
export function jailRoot({ base, vmm, id }: JailSite): string {
  return `${base}/${vmm}/${id}/root`
}

/** The name, in the base, of a jail that is being made. */
export function stageName(id: string): string {
  return `.stage-${id}`
}

/** The directory, in the base, that jails are moved into to be removed: root's alone. */
export const TRASH = ".trash"

/**
 * Opens the base (O_PATH), made when it is missing: others may traverse it and not list it. Throws when a directory
 * above it could be changed by others. The caller closes it.
 */
export function openBase(path: string): number {
  return withDescriptor(pinDirectory(dirname(path)), (parent) => ensureDirectory(parent, basename(path), 0o711))
}

/** Opens the base (O_PATH) when it is there. The caller closes it. */
export function findBase(path: string): number | undefined {
  return unlessAbsent(() => pinDirectory(path))
}

/** Opens (O_PATH) a directory of this user's with exactly this mode, made when it is missing. The caller closes it. */
export function ensureDirectory(parent: number, name: string, mode: number): number {
  try {
    mkdirAt(parent, name, 0o700)
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
  }
  return verified(openBeneath(parent, name, O.PATH | O_DIRECTORY | O_NOFOLLOW), (fd) => {
    const stat = statDescriptor(fd)
    if (stat.uid !== process.geteuid?.()) throw new Failure("FAILED", `${name} of the jails belongs to uid ${stat.uid}`)
    if ((stat.mode & 0o7777) !== mode) chmodDescriptor(fd, mode)
  })
}
