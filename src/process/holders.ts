import { readdirSync } from "node:fs"
import { errorCode } from "../linux/errors.ts"
import { inodeOf, statPath } from "../linux/files.ts"

/**
 * The pids of processes whose standard output is this very file (same device and inode): for a file in a directory
 * of our own, those we started. Throws when /proc cannot be read; a process that another user hides is none of ours.
 */
export function processesWritingTo(path: string): readonly number[] {
  let target: string
  try {
    target = inodeOf(statPath(path))
  } catch (error) {
    if (errorCode(error) === "ENOENT") return []
    throw error
  }
  const pids = readdirSync("/proc")
    .filter((name) => /^[1-9]\d*$/.test(name))
    .map(Number)
  return pids.filter((pid) => pid !== process.pid && writesTo(pid, target))
}

// --- internal ---

function writesTo(pid: number, target: string): boolean {
  try {
    return inodeOf(statPath(`/proc/${pid}/fd/1`)) === target
  } catch (error) {
    const code = errorCode(error)
    // Gone meanwhile, without a standard output, or of a user whose files this directory never held.
    if (code === "ENOENT" || code === "ESRCH" || code === "EACCES" || code === "EPERM") return false
    throw error
  }
}
