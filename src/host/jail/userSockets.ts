import { O, S } from "../../base/linux/constants.ts"
import { isType, mknodAt, openNamed, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { MOUNT_ATTR } from "../../base/linux/mounts.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Placed } from "../../base/terms/path.ts"
import type { Owner } from "./base.ts"
import { BOUND_ATTRIBUTES, bindAt } from "./bind.ts"
import type { Jail } from "./makeJail.ts"
import { withParent } from "./stage.ts"

/** A unix socket of a program of the user's, and the setting that names it. */
export interface UserSocket {
  readonly setting: string
  readonly path: string
}

type Access = Pick<Stat, "uid" | "gid" | "mode">

/** Whether the owner of a jail may connect to a socket, which takes the right to write (unix(7)). Reads the mode bits only. Pure. */
export function mayConnect({ uid, gid, mode }: Access, owner: Owner): boolean {
  const bit = uid === owner.uid ? 0o200 : gid === owner.gid ? 0o020 : 0o002
  return (mode & bit) !== 0
}

/** Throws a failure that says how to mend it unless the owner of a jail may connect to a socket. Pure. */
export function requireConnectable({ setting, path }: UserSocket, access: Access, owner: Owner): void {
  if (mayConnect(access, owner)) return
  const hint =
    "run its program as the jail's uid (jail: { uid } in the plugin), or let others write to the socket (chmod o+w)"
  const words = `cannot be connected to: uid ${owner.uid} of the jail may not write to it`
  throw new Failure("BAD_FILE", `${setting}: ${path} ${words}`, { hint, subject: path })
}

/**
 * Binds a socket into a jail, and returns where it is: the inode that the path led to once, which keeps its owner and mode. Who
 * is in the jail can connect to it and to nothing beside it. Throws a failure when something else is at the path, or the
 * jail's owner may not connect.
 */
export function bindSocket(jail: Jail, name: string, socket: UserSocket): Placed {
  const { setting, path } = socket
  withDescriptor(openNamed(path, O.PATH), (source) => {
    const stat = statDescriptor(source)
    if (!isType(stat, S.IFSOCK)) throw new Failure("BAD_FILE", `${setting}: ${path} is not a socket`, { subject: path })
    requireConnectable(socket, stat, jail.owner)
    withParent(jail, name, (dir, base) => {
      // A socket that nothing is bound to: what is bound in its place must be of its type.
      mknodAt(dir, base, S.IFSOCK, "0:0", 0o600)
      bindAt(source, { dir, name: base }, BOUND_ATTRIBUTES | MOUNT_ATTR.RDONLY)
    })
  })
  return jail.placed(name)
}
