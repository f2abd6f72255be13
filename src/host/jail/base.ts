import { basename, dirname } from "node:path"
import { chmodDescriptor } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { mkdirAt, openBeneath, statDescriptor, verified, withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { type HostPath, hostPath } from "../../base/terms/path.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"

/** The uid and gid that a jail is for. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/**
 * Where a jail is: `<base>/<vmm>/<id>/root`, Firecracker's jailer's own layout. `base` is an absolute path without
 * symlinks, in directories that only root can change.
 */
export interface JailSite {
  readonly base: HostPath
  readonly vmm: string
  readonly id: string
}

/** The root directory of a jail. */
export function jailRoot({ base, vmm, id }: JailSite): HostPath {
  return hostPath(`${base}/${vmm}/${id}/root`)
}

/** The name, in the base, of a jail that is being made. */
export function stageName(id: string): string {
  return `.stage-${id}`
}

/** The root-only directory in the base that a jail is moved to before it is emptied. */
export const TRASH = ".trash"

/**
 * Opens the base (O_PATH), and makes it when it is missing: others may traverse but not list it. Throws when others could
 * change a directory above it. The caller closes the descriptor.
 */
export function openBase(path: string): number {
  return withDescriptor(pinDirectory(dirname(path)), (parent) => ensureDirectory(parent, basename(path), 0o711))
}

/** Opens the base (O_PATH); undefined when it is missing. The caller closes the descriptor. */
export function findBase(path: string): number | undefined {
  return unlessAbsent(() => pinDirectory(path))
}

/** Opens (O_PATH) a directory of this user with exactly this mode, and makes it when it is missing. The caller closes it. */
export function ensureDirectory(parent: number, name: string, mode: number): number {
  try {
    mkdirAt(parent, name, 0o700)
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
  }
  return verified(openBeneath(parent, name, O.PATH | O_DIRECTORY | O_NOFOLLOW), (fd) => {
    const stat = statDescriptor(fd)
    if (stat.uid !== process.geteuid?.()) {
      const hint = "look at who made it, and remove it when nothing needs it"
      throw new Failure("UNTRUSTED", `${name} of the jails belongs to uid ${stat.uid}`, { hint, subject: name })
    }
    if ((stat.mode & 0o7777) !== mode) chmodDescriptor(fd, mode)
  })
}
