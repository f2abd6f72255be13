import { fstatSync, statfsSync } from "node:fs"
import { chmodDescriptor, chownDescriptor } from "../../base/linux/access.ts"
import { O } from "../../base/linux/constants.ts"
import { setLength, sync } from "../../base/linux/content.ts"
import { isDiskFull } from "../../base/linux/errors.ts"
import { close, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { formatSize } from "../../base/terms/quantity.ts"
import { removeAbandoned } from "../files/replaceFile.ts"
import { copyImage, type Image, type ImageName, openImage, padDisk } from "./content.ts"
import type { OnProgress } from "./convert.ts"
import { type Disks, fileOf, findDisks, openDisk, openDisks, openPresentDisk } from "./disks.ts"
import { withDisk } from "./lockDisk.ts"
import { makeFile } from "./makeFile.ts"
import { planDisk } from "./planDisk.ts"

/** A disk that a VM is to have. */
export interface WantedDisk {
  readonly name: string
  readonly sizeBytes: number | undefined
  /** The image that it is first made from. */
  readonly image: ImageName | undefined
  /** What named it: `drives[0]`. */
  readonly setting: string
}

/**
 * Opens a disk that a VM has claimed, for reading and writing: makes it on first use (whole, or not at all), grows it where a
 * larger size is wanted. The caller closes it. Throws BUSY while a command is at it, and as `planDisk` does.
 */
export async function readyDisk(
  directory: string,
  wanted: WantedDisk,
  how: { readonly signal: AbortSignal; readonly onProgress?: ((path: string) => OnProgress) | undefined },
): Promise<number> {
  using disks = openDisks(directory)
  const { name, image: named, setting } = wanted
  return await withDisk(disks, { name, what: "a start" }, async () => {
    const fd = openDisk(disks, name)
    if (fd !== undefined) {
      try {
        growDisk(fd, planDisk({ ...wanted, imageBytes: undefined }, statDescriptor(fd).size).bytes)
        return fd
      } catch (error) {
        close(fd)
        throw error
      }
    }
    using image = named === undefined ? undefined : openImage(named)
    const { bytes } = planDisk({ name, setting, sizeBytes: wanted.sizeBytes, imageBytes: image?.bytes }, undefined)
    if (image !== undefined) requireRoom(disks, image, setting)
    removeAbandoned(disks.path)
    await makeFile({ dir: disks.fd, name: fileOf(name), path: disks.path }, async (file) => {
      if (image !== undefined)
        await copyImage(image, file, { signal: how.signal, onProgress: how.onProgress?.(image.path) })
      padDisk(file, bytes)
    })
    return openPresentDisk(disks, name)
  })
}

/** Makes a disk larger; one of that size stays as it is. */
export function growDisk(fd: number, bytes: number): void {
  if (statDescriptor(fd).size >= bytes) return
  try {
    setLength(fd, bytes)
    sync(fd)
  } catch (error) {
    if (!isDiskFull(error)) throw error
    throw new Failure("NO_SPACE", `a disk cannot grow to ${formatSize(bytes)}: ${messageOf(error)}`, { cause: error })
  }
}

/** What `requireDisk` has found out. */
export interface Foreseen {
  /** How much more than now it may take of the file system that it is on. */
  readonly growsBytes: number
}

/**
 * Looks, before anything is made, whether a disk can be had as it is wanted: throws what `readyDisk` would throw, and NO_SPACE
 * where the image that it is first made from does not fit.
 */
export function requireDisk(directory: string, wanted: WantedDisk): Foreseen {
  using disks = findDisks(directory)
  const fd = disks === undefined ? undefined : openDisk(disks, wanted.name, O.RDONLY)
  if (fd !== undefined)
    return withDescriptor(fd, () => {
      const { size, blocks } = fstatSync(fd)
      const { bytes } = planDisk({ ...wanted, imageBytes: undefined }, size)
      return { growsBytes: Math.max(0, bytes - blocks * BLOCK_BYTES) }
    })
  using image = wanted.image === undefined ? undefined : openImage(wanted.image)
  const { bytes } = planDisk({ ...wanted, imageBytes: image?.bytes }, undefined)
  if (image !== undefined && disks !== undefined) requireRoom(disks, image, wanted.setting)
  return { growsBytes: bytes }
}

/** The bytes that are free for guests in the file system of a directory. */
export function roomIn(directory: string): number {
  const { bavail, bsize } = statfsSync(directory)
  return bavail * bsize
}

/** Gives an open disk to a user, who alone may read and write it from then on. */
export function giveDisk(fd: number, { uid, gid }: { readonly uid: number; readonly gid: number }): void {
  chmodDescriptor(fd, 0o600)
  chownDescriptor(fd, uid, gid)
}

/** Gives a disk back to this user, whoever had it. One that is gone is fine. */
export function takeBackDisk(directory: string, name: string): void {
  using disks = findDisks(directory)
  const fd = disks === undefined ? undefined : openDisk(disks, name, O.RDONLY)
  if (fd === undefined) return
  withDescriptor(fd, () => {
    const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0]
    const stat = statDescriptor(fd)
    if ((stat.mode & 0o7777) !== 0o600) chmodDescriptor(fd, 0o600)
    if (stat.uid !== uid || stat.gid !== gid) chownDescriptor(fd, uid, gid)
  })
}

// --- internal ---

/** The unit of a file's blocks (stat(2)). */
const BLOCK_BYTES = 512

/** File systems that may share the image's blocks: a copy there may take nothing. */
const SHARING = [0x9123683e, 0x58465342]

/** Where blocks may be shared, only the copy itself tells. */
function requireRoom(disks: Disks, image: Image, setting: string): void {
  const { type, bfree, bsize } = statfsSync(disks.path)
  const needed = fstatSync(image.fd).blocks * BLOCK_BYTES
  if (SHARING.includes(type) || needed <= bfree * bsize) return
  const message = `${setting}: ${image.path} takes ${formatSize(needed)}, and ${disks.path} has ${formatSize(bfree * bsize)} left`
  throw new Failure("NO_SPACE", message, { hint: "make room there", subject: disks.path })
}
