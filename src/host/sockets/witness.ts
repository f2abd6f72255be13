import { errorCode } from "../../base/linux/errors.ts"
import { listedSockets } from "../../base/linux/socketDiag.ts"
import type { Stat } from "../../base/linux/structs.ts"

/** Says whether the kernel's list of sockets has one that is bound to this inode. */
export type Witness = (stat: Pick<Stat, "ino" | "dev">) => boolean

/**
 * A second witness: the kernel's list of the sockets of this network namespace, as it is now. It can only speak for a
 * socket: those of other namespaces are not on the list, so that a missing one need not be dead. Where the kernel keeps no
 * such list, the witness is silent. `anyDevice`: on this file system (btrfs) the list has other device numbers than stat(2).
 */
export function callWitness(anyDevice: boolean): Witness {
  const bound = new Set<string>()
  for (const { inode, dev, accepted } of listed()) {
    // An accepted connection outlives its listener, and would keep the name for ever.
    if (!accepted) bound.add(anyDevice ? String(inode) : `${dev}:${inode}`)
  }
  return ({ ino, dev }) => {
    const inode = Number(ino & 0xffff_ffffn)
    return bound.size > 0 && bound.has(anyDevice ? String(inode) : `${dev}:${inode}`)
  }
}

// --- internal ---

/** The kernel lacks the protocol, or denies it to this process, as in some containers. */
const SILENT: readonly string[] = ["ENOENT", "EPROTONOSUPPORT", "EAFNOSUPPORT", "EPERM", "EACCES", "EINVAL"]

function listed(): ReturnType<typeof listedSockets> {
  try {
    return listedSockets()
  } catch (error) {
    if (SILENT.includes(errorCode(error) ?? "")) return []
    throw error
  }
}
