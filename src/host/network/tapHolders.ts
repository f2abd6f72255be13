import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"

/** The processes that hold a tap, and how many could not be examined. */
export interface TapHolders {
  readonly pids: readonly number[]
  readonly unreadable: number
}

/** The processes that have a tap of this name open, by the `iff:` line of their descriptors (/proc/PID/fdinfo). */
export function tapHolders(name: string): TapHolders {
  return allTapHolders()(name)
}

/** As `tapHolders`, for all taps by one reading of /proc. */
export function allTapHolders(): (name: string) => TapHolders {
  const holders = new Map<string, Set<number>>()
  let unreadable = 0
  for (const pid of readdirSync("/proc")) {
    if (!/^[1-9]\d*$/.test(pid) || Number(pid) === process.pid) continue
    const taps = tapsOf(pid)
    if (taps === undefined) unreadable++
    for (const tap of taps ?? []) holders.set(tap, (holders.get(tap) ?? new Set()).add(Number(pid)))
  }
  return (name) => ({ pids: [...(holders.get(name) ?? [])], unreadable })
}

/** The tap's name in a descriptor's fdinfo. Pure. */
export function parseTapName(fdinfo: string): string | undefined {
  return /^iff:\t(\S+)$/m.exec(fdinfo)?.[1]
}

// --- internal ---

/** Closed, or its process ended, meanwhile. */
const GONE: readonly string[] = ["ENOENT", "ESRCH"]

/** The taps of a process; undefined when it cannot be examined. */
function tapsOf(pid: string): readonly string[] | undefined {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => tapOf(pid, fd) ?? [])
  } catch (error) {
    return GONE.includes(errorCode(error) ?? "") ? [] : undefined
  }
}

function tapOf(pid: string, fd: string): string | undefined {
  // It may be closed meanwhile, or be a file whose path is too long to tell.
  return unlessAbsent(() => {
    if (!readlinkSync(`/proc/${pid}/fd/${fd}`).endsWith("/net/tun")) return undefined
    return parseTapName(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "latin1"))
  }, [...GONE, "ENAMETOOLONG"])
}
