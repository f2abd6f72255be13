import { fileAgeMs } from "../../base/linux/clock.ts"
import { S } from "../../base/linux/constants.ts"
import { errnoName } from "../../base/linux/errors.ts"
import { close, inodeOf, isType } from "../../base/linux/files.ts"
import { awaitChanges } from "../../base/linux/listing.ts"
import { askWhoIsBound, openProbe } from "../../base/linux/socketProbe.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { SWEEP_UID } from "../../store/state/uids.ts"
import { type Directory, joinPath } from "./directory.ts"
import { takeLockBeside } from "./lockBeside.ts"
import { type Dead, type Removed, removeDead } from "./remove.ts"
import type { KeptFor, SweptSocket } from "./report.ts"
import type { Witness } from "./witness.ts"

/** Which VM a socket belongs to, as far as the records tell. */
export type OwnerOf = (path: Uint8Array, inode: string) => string | undefined | "unknown"

/** What every socket of a sweep is judged by. */
export interface Rules {
  /** Milliseconds for which a socket is left alone after it was made or changed. */
  readonly grace: number
  /** Whose sockets may be removed; undefined: everybody's. */
  readonly uid: number | undefined
  readonly ownerOf: OwnerOf
}

/** A socket as it was found. */
export interface Candidate {
  readonly name: Uint8Array
  readonly stat: Stat
}

/** What a socket is, or undefined: nothing speaks for it so far. */
export type Opinion = Pick<SweptSocket, "is" | "reason" | "why"> | undefined

/**
 * What can be told of a pinned socket without asking the kernel whether it lives: whose it is, how many names it has, how
 * old it is. A time in the future counts as young, as a clock may have been set back.
 */
export function judgeFile(
  directory: Directory,
  { name, stat }: Candidate,
  { rules, now }: { readonly rules: Rules; readonly now: number },
): Opinion {
  if (stat.nlink === 0) return { is: "gone" }
  if (stat.mountId !== directory.stat.mountId) return kept("mount", "another file is mounted on it")
  if (stat.nlink > 1) return kept("links", `it has ${stat.nlink} names`)
  if (rules.uid !== undefined && stat.uid !== rules.uid) return kept("owner", `it belongs to uid ${stat.uid}`)
  const age = fileAgeMs(stat, { nowMs: now })
  // Only a sweep gives a socket to this uid, and only one that was found dead: it was killed before it was done.
  if (age < rules.grace && stat.uid !== SWEEP_UID) {
    return kept("young", `it was made or changed ${Math.floor(age / 1000)} s ago`)
  }
  const vm = rules.ownerOf(joinPath(directory.path, name), inodeOf(stat))
  if (vm === "unknown") return unknown("the VM records cannot be read")
  return vm === undefined ? undefined : kept("vm", `it is the VM ${vm}'s`)
}

/** Whether a file is a unix socket. */
export function isSocket(stat: Stat): boolean {
  return isType(stat, S.IFSOCK)
}

/** Asks the kernel whether a pinned socket lives, over and over with one datagram socket. */
export interface Probe {
  ask(fd: number): Opinion
  close(): void
}

/** A probe; the caller closes it. What it is asked must have been pinned before the directory's barrier. */
export function startProbe(): Probe {
  let socket = openProbe()
  return {
    ask(fd) {
      const errno = askWhoIsBound(socket, fd)
      if (errno !== 0) return opinionOf(errnoName(errno))
      // It has a peer now, and would keep it.
      const fresh = openProbe()
      close(socket)
      socket = fresh
      return { is: "alive", why: "a datagram socket is bound to it" }
    },
    close: () => close(socket),
  }
}

/** Whom a last look asks, and whether it only looks. */
export interface LastLook {
  readonly probe: Probe
  readonly witness: Witness
  readonly dry: boolean
}

/**
 * The last look at a socket that was found dead, and its removal unless `dry`: no other witness speaks for it, and the
 * lock beside it, which is held meanwhile, is free.
 */
export function lastLook(directory: Directory, dead: Dead, { probe, witness, dry }: LastLook): Removed {
  if (witness(dead.stat)) return kept("diag", "the kernel lists a socket that is bound to it")
  const lock = takeLockBeside(directory.fd, dead.name)
  if (lock.is === "held") return kept("lock", "its lock is held")
  if (lock.is === "unknown") return unknown(lock.why)
  try {
    if (lock.is === "taken") {
      // Whoever had the lock may have come and gone since the socket was asked.
      awaitChanges(directory.barrier)
      const opinion = probe.ask(dead.fd)
      if (opinion !== undefined) return opinion
    }
    return dry ? { is: "dead" } : removeDead(directory, dead)
  } finally {
    if (lock.is === "taken") close(lock.fd)
  }
}

// --- internal ---

function kept(reason: KeptFor, why: string): Removed {
  return { is: "kept", reason, why }
}

function unknown(why: string): Removed {
  return { is: "unknown", why }
}

/** What an errno of `askWhoIsBound` means; undefined: nothing is bound, and never will be again. */
function opinionOf(code: string): Opinion {
  if (code === "ECONNREFUSED") return undefined
  if (code === "EPROTOTYPE") return { is: "alive", why: "a stream or seqpacket socket is bound to it" }
  if (code === "EPERM") return { is: "alive", why: "a datagram socket with a peer is bound to it" }
  return unknown(`connect: ${code}`)
}
