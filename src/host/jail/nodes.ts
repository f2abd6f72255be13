import { chmodDescriptor, chownDescriptor } from "../../base/linux/access.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { isType, mknodAt, openBeneath, openNamed, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { MOUNT_ATTR } from "../../base/linux/mounts.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Placed } from "../../base/terms/path.ts"
import type { Owner } from "./base.ts"
import { BOUND_ATTRIBUTES, bindAt } from "./bind.ts"
import { allow, type Jail } from "./makeJail.ts"
import { type StageRoot, withParent } from "./stage.ts"

/** A device: its type, `S.IFCHR` or `S.IFBLK`, and its number `major:minor`. */
export interface Device {
  readonly type: number
  readonly rdev: string
}

/** The block device at a path. Throws a failure when something else is there. */
export function blockDevice(path: string): Device {
  return withDescriptor(openNamed(path, O.PATH), (fd) => {
    const stat = statDescriptor(fd)
    if (!isType(stat, S.IFBLK)) throw new Failure("BAD_FILE", `${path} is not a block device`, { subject: path })
    return { type: S.IFBLK, rdev: stat.rdev }
  })
}

/**
 * Binds a unix socket of the host into a jail, and returns where it is: who is in the jail can connect to it as its mode says,
 * and to nothing beside it. Throws a failure when something else is at the path.
 */
export function bindSocket(jail: Jail, name: string, path: string): Placed {
  withDescriptor(openNamed(path, O.PATH), (source) => {
    if (!isType(statDescriptor(source), S.IFSOCK))
      throw new Failure("BAD_FILE", `${path} is not a unix socket`, { subject: path })
    withParent(jail, name, (dir, base) => {
      // A socket that nothing is bound to: what is bound in its place must be of its type.
      mknodAt(dir, base, S.IFSOCK, "0:0", 0o600)
      bindAt(source, { dir, name: base }, BOUND_ATTRIBUTES | MOUNT_ATTR.RDONLY)
    })
  })
  return jail.placed(name)
}

/**
 * Makes a device node in a jail for its owner alone, and returns where it is. What is opened under the name is verified to
 * be the node just made; owner and mode are then set on that inode.
 */
export function makeNode(jail: StageRoot & { readonly owner: Owner }, path: string, device: Device): Placed {
  allow(jail, "devices")
  withParent(jail, path, (dir, name) => {
    mknodAt(dir, name, device.type, device.rdev, 0o600)
    withDescriptor(openBeneath(dir, name, O.PATH | O_NOFOLLOW), (fd) => {
      const stat = statDescriptor(fd)
      const same = isType(stat, device.type) && stat.rdev === device.rdev && stat.nlink === 1
      if (!same) throw new Error(`${path} is not the node just made`)
      chmodDescriptor(fd, 0o660)
      chownDescriptor(fd, jail.owner.uid, jail.owner.gid)
    })
  })
  return jail.placed(path)
}
