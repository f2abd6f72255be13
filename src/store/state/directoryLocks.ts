import { join } from "node:path"
import { O, O_DIRECTORY } from "../../base/linux/constants.ts"
import { close, openAt, unlinkAt } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { takeNamedLock } from "../files/lock.ts"
import { ensurePrivateDirectory } from "../files/privateDirectory.ts"
import { ensureRuntime } from "./open.ts"

/** Runs `work` while no other sweep is in the directory of this `device:inode`; undefined when one is. */
export type DirectoryLock = <T>(inode: string, work: () => Promise<T>) => Promise<T | undefined>

/** Where the locks are, in the runtime directory. */
export const LOCKS = "sweep"

/**
 * Lets one sweep at a time into each directory, by a lock file for its inode that only this user can lock. (Anybody who
 * can read the directory itself could lock that for ever.) The file goes with the sweep.
 */
export function directoryLocks(): DirectoryLock {
  let locks: string | undefined
  return async (inode, work) => {
    locks ??= ensurePrivateDirectory(join(ensureRuntime(), LOCKS), 0o700, true)
    const dir = openAt(AT_FDCWD, locks, O.PATH | O_DIRECTORY)
    try {
      const name = `${inode.replaceAll(":", "-")}.lock`
      const held = takeNamedLock(dir, name)
      if (held === undefined) return undefined
      try {
        return await work()
      } finally {
        removeHeld(dir, name)
        close(held)
      }
    } finally {
      close(dir)
    }
  }
}

// --- internal ---

function removeHeld(dir: number, name: string): void {
  try {
    unlinkAt(dir, name)
  } catch {
    // A read-only file system, or somebody removed it by hand. One that stays is taken by the next sweep.
  }
}
