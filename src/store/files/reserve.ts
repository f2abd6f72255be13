import { statfsSync } from "node:fs"
import { join } from "node:path"
import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { allocate } from "../../base/linux/content.ts"
import { openAt, tryUnlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"

/** What it takes to note the ends of some hundred VMs. */
const RESERVE_BYTES = 512 * 1024

/** A disk that is smaller than that has none to keep back. */
const ROOM_BYTES = 4 * RESERVE_BYTES

/** With less than this free, what is kept back is given. */
const NEED_BYTES = 256 * 1024

const reserveIn = (state: string) => join(state, "reserve")

/**
 * Keeps some room of the state's disk back, for the day when it is full and VMs are to be ended all the same. Never throws:
 * where there is no room to keep back, or it cannot be made, nothing is kept.
 */
export function keepReserve(state: string): void {
  try {
    if (freeBytes(state) < ROOM_BYTES) return
    const flags = O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW
    withDescriptor(openAt(AT_FDCWD, reserveIn(state), flags, 0o600), (fd) => allocate(fd, RESERVE_BYTES))
  } catch {
    // It is there already, mostly.
  }
}

/**
 * Where the state's disk is full, gives what was kept back to whoever is about to end VMs, and to note that. Never throws: what
 * cannot be written then says so itself.
 */
export function useReserve(state: string): void {
  try {
    if (freeBytes(state) < NEED_BYTES) tryUnlinkAt(AT_FDCWD, reserveIn(state))
  } catch {
    // The disk is not there: whoever opens the state says so.
  }
}

// --- internal ---

function freeBytes(dir: string): number {
  const { bavail, bfree, bsize } = statfsSync(dir)
  return (process.geteuid?.() === 0 ? bfree : bavail) * bsize
}
