import { tryChownDescriptor } from "../../base/linux/access.ts"
import { asFileOwner } from "../../base/linux/credentials.ts"
import { errnoName, unlessAbsent } from "../../base/linux/errors.ts"
import { statAt, statDescriptor, tryUnlinkAt } from "../../base/linux/files.ts"
import { awaitChanges } from "../../base/linux/listing.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { SWEEP_UID } from "../../store/state/uids.ts"
import type { Directory } from "./directory.ts"
import type { SweptSocket } from "./report.ts"

/** A dead socket by its inode: a descriptor (O_PATH) of it, what it is, and the name it was found under. */
export interface Dead {
  readonly name: Uint8Array
  readonly fd: number
  readonly stat: Stat
}

/** What came of it. */
export type Removed = Pick<SweptSocket, "is" | "reason" | "why">

/**
 * Removes a dead socket's name. In a directory where removal is exact the kernel itself compares: the inode is given to a
 * uid that owns nothing else, and unlinked with the rights of that uid alone, which in a sticky directory reach nothing
 * else (unlink(2)). So whatever has the name at that moment, only this inode can go. Elsewhere the name is looked at once
 * more just before, and somebody who is faster than that loses a socket.
 */
export function removeDead(directory: Directory, dead: Dead): Removed {
  return directory.removal === "exact" ? removeExactly(directory.fd, dead) : removeRechecked(directory, dead)
}

// --- internal ---

function removeExactly(dir: number, { name, fd, stat }: Dead): Removed {
  return asFileOwner(SWEEP_UID, () => {
    const given = tryChownDescriptor(fd, SWEEP_UID)
    if (given < 0) return failed("fchownat", given)
    const unlinked = tryUnlinkAt(dir, name)
    const left = statDescriptor(fd).nlink
    // It has a name still, or again: its owner gets it back.
    if (left > 0 && stat.uid !== SWEEP_UID) tryChownDescriptor(fd, stat.uid)
    if (unlinked === 0) return left === 0 ? REMOVED : changed("it was moved away")
    const code = errnoName(-unlinked)
    if (code === "ENOENT") return { is: "gone" }
    // An append-only directory lets nothing go, which is told by the same errno.
    const another = code === "EPERM" && !hasName(dir, name, stat)
    return another ? changed("another file has its name") : failed("unlinkat", unlinked)
  })
}

function removeRechecked(directory: Directory, { name, fd, stat }: Dead): Removed {
  awaitChanges(directory.barrier)
  if (!hasName(directory.fd, name, stat)) return changed("another file has its name, or none")
  const unlinked = tryUnlinkAt(directory.fd, name)
  if (unlinked === 0) {
    if (statDescriptor(fd).nlink === 0) return REMOVED
    return {
      is: "failed",
      why: "another file took its name between the last look and the removal, and is gone",
    }
  }
  return errnoName(-unlinked) === "ENOENT" ? { is: "gone" } : failed("unlinkat", unlinked)
}

function hasName(dir: number, name: Uint8Array, { ino, dev }: Stat): boolean {
  const now = unlessAbsent(() => statAt(dir, name))
  return now?.ino === ino && now.dev === dev
}

const REMOVED: Removed = { is: "removed" }

function changed(why: string): Removed {
  return { is: "kept", reason: "changed", why }
}

function failed(call: string, negative: number): Removed {
  return { is: "failed", why: `${call}: ${errnoName(-negative)}` }
}
