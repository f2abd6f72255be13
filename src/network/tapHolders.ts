import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { errorCode } from "../linux/errors.ts"

/** Who holds a tap, and of how many processes it could not be told. */
export interface TapHolders {
  readonly pids: readonly number[]
  readonly unreadable: number
}

/** The processes that have a tap of this name open, by the `iff:` line of their descriptors (/proc/PID/fdinfo). */
export function tapHolders(name: string): TapHolders {
  const pids: number[] = []
  let unreadable = 0
  for (const pid of readdirSync("/proc")) {
    if (!/^[1-9]\d*$/.test(pid) || Number(pid) === process.pid) continue
    const holds = holdsTap(pid, name)
    if (holds === undefined) unreadable++
    else if (holds) pids.push(Number(pid))
  }
  return { pids, unreadable }
}

/** The tap's name in the text of a descriptor's fdinfo. Pure. */
export function parseTapName(fdinfo: string): string | undefined {
  return /^iff:\t(\S+)$/m.exec(fdinfo)?.[1]
}

// --- internal ---

/** Undefined when it cannot be told. */
function holdsTap(pid: string, name: string): boolean | undefined {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => isTap(pid, fd, name))
  } catch (error) {
    return isGone(error) ? false : undefined
  }
}

function isTap(pid: string, fd: string, name: string): boolean {
  try {
    if (!readlinkSync(`/proc/${pid}/fd/${fd}`).endsWith("/net/tun")) return false
    return parseTapName(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "latin1")) === name
  } catch (error) {
    // Closed meanwhile.
    if (isGone(error)) return false
    throw error
  }
}

function isGone(error: unknown): boolean {
  return errorCode(error) === "ENOENT" || errorCode(error) === "ESRCH"
}
