import { chmodDescriptor, chownDescriptor } from "../../base/linux/access.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { isType, mknodAt, openBeneath, openNamed, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Placed } from "../../base/terms/path.ts"
import { allow, type Jail } from "./makeJail.ts"
import { withParent } from "./stage.ts"

/** The character devices that a jail may have, with their numbers (Linux's admin-guide/devices.rst). */
export const DEVICES: Readonly<Record<string, string>> = {
  "dev/kvm": "10:232",
  "dev/net/tun": "10:200",
  "dev/vhost-vsock": "10:241",
}

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
 * Makes a device node in a jail for its owner alone, and returns where it is. What is opened under the name is verified to
 * be the node just made; owner and mode are then set on that inode.
 */
export function makeNode(jail: Jail, path: string, device: Device): Placed {
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

/** Makes the node of one of `DEVICES`. Throws a failure when this host's own device is missing or has another number. */
export function makeHostDevice(jail: Jail, path: string): void {
  const rdev = DEVICES[path]
  withDescriptor(openNamed(`/${path}`, O.PATH), (fd) => {
    const stat = statDescriptor(fd)
    if (!isType(stat, S.IFCHR) || stat.rdev !== rdev)
      throw new Failure("HOST_LACKS", `/${path} is not the device ${rdev}`, { subject: `/${path}` })
  })
  makeNode(jail, path, { type: S.IFCHR, rdev: rdev ?? "" })
}
