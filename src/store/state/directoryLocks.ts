import { join } from "node:path"
import { O, O_DIRECTORY } from "../../base/linux/constants.ts"
import { close, openAt, statDescriptor, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { takeLock } from "../files/lock.ts"
import { ensurePrivateDirectory } from "../files/privateDirectory.ts"
import { ensureRuntime } from "./open.ts"

/** Runs `work` while no other sweep is in the directory of this `device:inode`; undefined when one is. */
export type DirectoryLock = <T>(inode: string, work: () => Promise<T>) => Promise<T | undefined>

/** Where the locks are, in the runtime directory. */
export const LOCKS = "sweep"

/**
 * One sweep at a time in each directory: by a lock file for its inode, among files that only this user can lock. The
 * directory itself could be locked by anybody who can read it, for ever. The file goes with the sweep.
 */
export function directoryLocks(): DirectoryLock {
  let locks: string | undefined
  return async (inode, work) => {
    locks ??= ensurePrivateDirectory(join(ensureRuntime(), LOCKS), 0o700, true)
    const name = `${inode.replaceAll(":", "-")}.lock`
    const held = takeNamed(join(locks, name))
    if (held === undefined) return undefined
    try {
      return await work()
    } finally {
      removeHeld(locks, name)
      close(held)
    }
  }
}

// --- internal ---

/** One that stays, the next sweep takes. */
function removeHeld(dir: string, name: string): void {
  try {
    withDescriptor(openAt(AT_FDCWD, dir, O.PATH | O_DIRECTORY), (fd) => unlinkAt(fd, name))
  } catch {
    // A read-only file system, or somebody removed it by hand: a lock without a name keeps nobody out, or in.
  }
}

/**
 * Takes a lock whose file is removed by who holds it, and by nobody else: one that lost its name while it was opened is
 * no lock any more, and another process may hold the one that has the name now. Undefined when it is held.
 */
function takeNamed(path: string): number | undefined {
  for (;;) {
    const fd = takeLock(path)
    if (fd === undefined || statDescriptor(fd).nlink > 0) return fd
    close(fd)
  }
}
