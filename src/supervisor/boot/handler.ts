import { O, S } from "../../base/linux/constants.ts"
import { errnoName, unlessAbsent } from "../../base/linux/errors.ts"
import { close, isType, openNamed, statDescriptor } from "../../base/linux/files.ts"
import { askWhoIsBound, openProbe } from "../../base/linux/socketProbe.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { ConfinementPlan } from "./confinement.ts"

const SETTING = "firecracker.uffd"

/**
 * Throws a failure unless a VMM that is confined so can connect to the socket of a handler of page faults, and something is
 * bound to it. The handler sees nothing of this: it may take one connection only.
 */
export function requireHandler(path: string, { jail }: Pick<ConfinementPlan, "jail">): void {
  const fd = unlessAbsent(() => openNamed(path, O.PATH), ["ENOENT", "ENOTDIR"])
  if (fd === undefined) throw refused(path, `there is no socket ${path}`, FIRST)
  try {
    const stat = statDescriptor(fd)
    if (!isType(stat, S.IFSOCK)) throw refused(path, `${path} is not a unix socket`)
    const said = whoIsBound(fd)
    if (said === "ECONNREFUSED") throw refused(path, `nothing listens on ${path}`, FIRST)
    if (said === "" || said === "EPERM") throw refused(path, `${path} is a datagram socket; Firecracker needs a stream`)
    if (said !== "EPROTOTYPE") throw refused(path, `${path} cannot be connected to: ${said}`)
    if (jail !== undefined && !mayConnect(stat, jail)) {
      const mode = `0${(stat.mode & 0o777).toString(8)}`
      const words = `the VM's uid may not connect to ${path} (mode ${mode} of uid ${stat.uid})`
      throw refused(path, words, `chmod 666 ${path}, in a directory that only you can enter: the VM does not need to`)
    }
  } finally {
    close(fd)
  }
}

// --- internal ---

const FIRST = "start the handler before the VM is restored"

function refused(subject: string, words: string, hint?: string): Failure {
  return new Failure("BAD_FILE", `${SETTING}: ${words}`, { subject, hint })
}

/** The errno's name; empty for none. */
function whoIsBound(fd: number): string {
  const probe = openProbe()
  try {
    const errno = askWhoIsBound(probe, fd)
    return errno === 0 ? "" : errnoName(errno)
  } finally {
    close(probe)
  }
}

/** Connecting takes the right to write (unix(7)). A uid of a VM's own is nobody else's. */
function mayConnect({ uid, gid, mode }: Stat, jail: NonNullable<ConfinementPlan["jail"]>): boolean {
  if (uid === jail.uid) return (mode & 0o200) !== 0
  return (mode & (gid === jail.gid ? 0o020 : 0o002)) !== 0
}
