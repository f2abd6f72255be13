import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../base/linux/constants.ts"
import {
  inodeOf,
  isType,
  openBeneath,
  openBeneathMounts,
  statDescriptor,
  verified,
  withDescriptor,
} from "../base/linux/files.ts"
import { listenerOf } from "../base/linux/sockets.ts"
import { Failure, usageError } from "../base/terms/failure.ts"
import { pinDirectory } from "../store/files/pinDirectory.ts"
import type { ProcessIdentity, Resource } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"
import { entryOf } from "./journal.ts"

/**
 * The directory that a jailed VMM sees as `/` (O_PATH), proven by the inode on the journal. The caller closes it. Throws
 * a failure when the VM has no jail.
 */
export function openJailRoot(layout: VmLayout, resources: readonly Resource[]): number {
  const jail = entryOf(resources, "jail")
  if (jail === undefined) throw usageError("only a VM in a jail can be saved: elsewhere its disks are not its own")
  const above = pinDirectory(`${layout.jails}/${jail.vmm}/${layout.id}`)
  const root = withDescriptor(above, () => openBeneathMounts(above, "root", O.PATH | O_DIRECTORY | O_NOFOLLOW))
  return verified(root, () => {
    if (inodeOf(statDescriptor(root)) !== jail.root)
      throw new Failure("FAILED", "the jail's root is another directory: left alone")
  })
}

/**
 * A control socket below a directory (O_PATH), once it is known that the VMM itself listens on it: whoever else may write
 * there could have put another in its place. The caller closes it.
 */
export function openControlSocket(dir: number, name: string, { pid }: ProcessIdentity): number {
  return verified(openBeneath(dir, name, O.PATH | O_NOFOLLOW), (fd) => {
    if (!isType(statDescriptor(fd), S.IFSOCK)) throw new Failure("FAILED", `${name} is not a socket`)
    const listener = listenerOf(`/proc/self/fd/${fd}`)
    if (listener.pid !== pid)
      throw new Failure("FAILED", `process ${listener.pid} listens on ${name}, not the VMM (${pid})`)
  })
}
