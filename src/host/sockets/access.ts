import { chmodDescriptor, chownDescriptor } from "../../base/linux/access.ts"
import { O, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { isType, openBeneath, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"

/** The owner and mode that a socket is to have. */
export interface SocketAccess {
  readonly uid: number
  readonly gid: number
  readonly mode: number
}

/**
 * Gives an owner and a mode to a unix socket, at a relative path below a pinned directory. Whoever can write in that
 * directory can swap names at will. So only an inode is changed that is verified to be a socket with one name, on the
 * directory's own mount, and owned by root or by `uid` already; and at no moment is it open to more users than before or
 * after. Throws a failure, with nothing changed, when the name leads to anything else.
 */
export function setSocketAccess(dir: number, path: string, { uid, gid, mode }: SocketAccess): void {
  withDescriptor(openBeneath(dir, path, O.PATH | O_NOFOLLOW), (fd) => {
    const before = statDescriptor(fd)
    requireSocket(before, uid, path)
    chmodDescriptor(fd, before.mode & mode & 0o777)
    chownDescriptor(fd, uid, gid)
    chmodDescriptor(fd, mode)
    const after = statDescriptor(fd)
    const right = after.uid === uid && after.gid === gid && (after.mode & 0o7777) === mode
    if (!right) throw new Failure("CHANGED", `somebody else has changed ${path} meanwhile`, { subject: path })
  })
}

// --- internal ---

function requireSocket(stat: Stat, uid: number, path: string): void {
  const refused = (what: string) => new Failure("UNTRUSTED", `${path} ${what}`, { subject: path })
  if (!isType(stat, S.IFSOCK)) throw refused("is not a socket")
  if (stat.nlink !== 1) throw refused(`has ${stat.nlink} names: it may be somebody else's`)
  if (stat.uid !== 0 && stat.uid !== uid) throw refused(`belongs to uid ${stat.uid}, not to uid ${uid}`)
}
