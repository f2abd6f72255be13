import { basename, dirname } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../base/linux/constants.ts"
import { errorCode } from "../base/linux/errors.ts"
import {
  close,
  inodeOf,
  isType,
  openAt,
  openBeneath,
  openBeneathMounts,
  statDescriptor,
  verified,
  withDescriptor,
} from "../base/linux/files.ts"
import { AT_FDCWD } from "../base/linux/guards.ts"
import { listenerOf } from "../base/linux/sockets.ts"
import { Failure } from "../base/terms/failure.ts"
import type { HostPath } from "../base/terms/path.ts"
import { pinDirectory } from "../store/files/pinDirectory.ts"
import type { ProcessIdentity, Resource } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"
import { entryOf } from "./journal.ts"

/**
 * Opens (O_PATH) the directory that a jailed VMM sees as `/`, proven by the inode on the journal. The caller closes it.
 * Throws UNSUPPORTED when the VM has no jail, CHANGED when another directory is in its place.
 */
export function openJailRoot(layout: VmLayout, resources: readonly Resource[]): number {
  const jail = entryOf(resources, "jail")
  if (jail === undefined) {
    const hint = "run it without `jail: false`"
    const message = "only a VM in a jail can be saved: without one its disks are not its own"
    throw new Failure("UNSUPPORTED", message, { subject: layout.id, hint })
  }
  const above = pinDirectory(`${layout.jails}/${jail.vmm}/${layout.id}`)
  const root = withDescriptor(above, () => openBeneathMounts(above, "root", O.PATH | O_DIRECTORY | O_NOFOLLOW))
  return verified(root, () => {
    if (inodeOf(statDescriptor(root)) !== jail.root)
      throw new Failure("CHANGED", "the jail's root is another directory: left alone", { subject: layout.id })
  })
}

/**
 * Opens (O_PATH) the control socket that a VMM itself made, in its jail or at this path, proven to be its own. The caller
 * closes it. Throws a failure when it cannot be proven.
 */
export function openOwnSocket(path: HostPath, { layout, resources, identity }: Proven): number {
  const jailed = entryOf(resources, "jail") !== undefined
  const dir = jailed
    ? openJailRoot(layout, resources)
    : orRemoved(layout.id, dirname(path), () => openAt(AT_FDCWD, dirname(path), O.PATH | O_DIRECTORY))
  try {
    return orRemoved(layout.id, path, () => openControlSocket(dir, basename(path), identity))
  } finally {
    close(dir)
  }
}

/**
 * Opens what a VM was given when it started. Throws CHANGED, with what can be done, where somebody has removed it: the VM runs on without.
 */
export function orRemoved<T>(id: string, path: string, open: () => T): T {
  try {
    return open()
  } catch (error) {
    if (!["ENOENT", "ENOTDIR"].includes(errorCode(error) ?? "")) throw error
    const hint = `it runs on without: banger logs -f ${id} shows what it says, banger stop ${id} ends it, banger restart ${id} boots it with a new one`
    throw new Failure("CHANGED", `${path} was removed while ${id} runs`, { subject: id, hint, cause: error })
  }
}

/** A VM whose process is proven. */
export interface Proven {
  readonly layout: VmLayout
  readonly resources: readonly Resource[]
  readonly identity: ProcessIdentity
}

/**
 * Opens (O_PATH) a control socket in a directory, once it is proven that the VMM itself listens on it: another process
 * that may write there could have put its own in the place. The caller closes it. Throws CHANGED when it is another's.
 */
export function openControlSocket(dir: number, name: string, { pid }: ProcessIdentity): number {
  return verified(openBeneath(dir, name, O.PATH | O_NOFOLLOW), (fd) => {
    if (!isType(statDescriptor(fd), S.IFSOCK))
      throw new Failure("CHANGED", `${name} is not a socket`, { subject: name })
    const listener = listenerOf(`/proc/self/fd/${fd}`)
    if (listener.pid === pid) return
    const message = `process ${listener.pid} listens on ${name}, not the VMM (process ${pid})`
    throw new Failure("CHANGED", message, { subject: name, hint: "to end the VM: banger kill" })
  })
}
