import { sync } from "../base/linux/content.ts"
import { unlessAbsent } from "../base/linux/errors.ts"
import { statAt, statDescriptor, unlinkAt, withDescriptor } from "../base/linux/files.ts"
import { Failure } from "../base/terms/failure.ts"
import { formatSize } from "../base/terms/quantity.ts"
import { requireUnclaimed } from "../store/disks/claims.ts"
import { type Disks, diskPath, fileOf, lookAtDisk, openDisks, openPresentDisk } from "../store/disks/disks.ts"
import { type DiskWork, withDisk } from "../store/disks/lockDisk.ts"
import { growDisk } from "../store/disks/readyDisk.ts"
import type { State } from "../store/state/open.ts"
import { disksDirectory } from "../store/state/places.ts"

/** A disk after something was done with it. */
export interface ChangedDisk {
  readonly name: string
  readonly path: string
  readonly sizeBytes: number
}

/**
 * Does work on a disk that no VM has, while nobody else is at it. Throws IN_USE, which names the VM that has it, and BUSY where
 * another command is at it.
 */
export async function withFreeDisk<T>(
  { db, where }: State,
  work: DiskWork,
  use: (disks: Disks) => T | Promise<T>,
): Promise<T> {
  using disks = openDisks(disksDirectory(where))
  return await withDisk(disks, work, () => {
    // Under the lock: a VM claims a disk first, and then waits for this lock.
    requireUnclaimed(db, [work.name])
    return use(disks)
  })
}

/** Removes a disk and all that is on it, and proves it gone. Throws where there is none, or somebody has it. */
export function removeDisk(state: State, name: string): Promise<ChangedDisk> {
  return withFreeDisk(state, { name, what: "a removal" }, (disks) => {
    const sizeBytes = withDescriptor(openPresentDisk(disks, name), (fd) => statDescriptor(fd).size)
    const path = diskPath(disks.path, name)
    unlinkAt(disks.fd, fileOf(name))
    sync(disks.fd)
    if (unlessAbsent(() => statAt(disks.fd, fileOf(name))) !== undefined)
      throw new Failure("NOT_RELEASED", `${path} is still there after its removal`, {
        hint: "find who made it anew, then try again",
        subject: name,
      })
    return { name, path, sizeBytes }
  })
}

/** Makes a disk larger. Throws where it would shrink, there is none, or somebody has it. */
export function resizeDisk(state: State, name: string, bytes: number): Promise<ChangedDisk> {
  return withFreeDisk(state, { name, what: "a change of its size" }, (disks) => {
    withDescriptor(openPresentDisk(disks, name), (fd) => {
      const { size } = statDescriptor(fd)
      if (bytes < size) {
        const message = `the disk ${name} has ${formatSize(size)}, and never shrinks to ${formatSize(bytes)}`
        const hint = "make a smaller one, and copy what is on it in a guest"
        throw new Failure("UNSUPPORTED", message, { hint, subject: name })
      }
      growDisk(fd, bytes)
    })
    return present(disks, name)
  })
}

/** What is told of a disk that is there. */
export function present(disks: Disks, name: string): ChangedDisk {
  const { path, sizeBytes } = lookAtDisk(disks, name) ?? { path: diskPath(disks.path, name), sizeBytes: 0 }
  return { name, path, sizeBytes }
}
