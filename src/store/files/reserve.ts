import { existsSync, fstatSync, statfsSync } from "node:fs"
import { join } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW, O_TMPFILE } from "../../base/linux/constants.ts"
import { allocate } from "../../base/linux/content.ts"
import { ignoring, isDiskFull } from "../../base/linux/errors.ts"
import { close, mkdirAt, openAt, openBeneath, tryUnlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"

/** What it takes to note the ends of some hundred VMs. */
const RESERVE_BYTES = 512 * 1024

/** The files of a database that is opened, of a request, and of what replaces a journal: each is an inode. */
const RESERVE_COUNT = 24

/** A disk that is smaller than that has none to keep back. */
const ROOM = { bytes: 4 * RESERVE_BYTES, inodes: 4 * RESERVE_COUNT }

/** With less than this free, what is kept back is given. */
const NEED = { bytes: 256 * 1024, inodes: RESERVE_COUNT }

const RESERVE = "reserve"
const INODES = "reserve.inodes"

/**
 * Keeps some room of the state's disk back, for the day when it is full and VMs are to be ended all the same. Never throws:
 * where there is no room to keep back, or it cannot be made, nothing is kept.
 */
export function keepReserve(state: string): void {
  try {
    const free = freeIn(state)
    withDescriptor(openAt(AT_FDCWD, state, O.RDONLY | O_DIRECTORY), (dir) => {
      if (free.bytes >= ROOM.bytes) keepBytes(dir)
      const some = free.inodes !== undefined && free.inodes >= ROOM.inodes
      if (some && !existsSync(join(state, FIRST))) keepInodes(dir)
    })
  } catch {
    // A file system that keeps no blocks for a file.
  }
}

/**
 * Where the state's disk is full, or has no inode left, or this user's share of it is used up, gives what was kept back to whoever is
 * about to end VMs, and to note that. Never throws: what cannot be written then says so itself.
 */
export function useReserve(state: string): void {
  try {
    withDescriptor(openAt(AT_FDCWD, state, O.RDONLY | O_DIRECTORY), (dir) => {
      const { bytes, inodes } = freeIn(state)
      const noInodes = inodes !== undefined && inodes < NEED.inodes
      if (!noInodes && bytes >= NEED.bytes && !isRefused(dir)) return
      tryUnlinkAt(dir, RESERVE)
      for (const name of INODE_NAMES) tryUnlinkAt(dir, name)
    })
  } catch {
    // The disk is not there: whoever opens the state says so.
  }
}

// --- internal ---

const INODE_NAMES = Array.from({ length: RESERVE_COUNT }, (_, index) => `${INODES}/${index}`)

const FIRST = `${INODES}/0`

/** The unit of a file's blocks (stat(2)). */
const BLOCK_BYTES = 512

/** One that was made, and then not filled, is filled now. */
function keepBytes(dir: number): void {
  withDescriptor(openBeneath(dir, RESERVE, O.WRONLY | O.CREAT | O_NOFOLLOW, 0o600), (fd) => {
    if (fstatSync(fd).blocks * BLOCK_BYTES < RESERVE_BYTES) allocate(fd, RESERVE_BYTES)
  })
}

/** The first is made last, and goes first: where it is there, all are. */
function keepInodes(dir: number): void {
  ignoring(["EEXIST"], () => mkdirAt(dir, INODES, 0o700))
  const flags = O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW
  for (const name of INODE_NAMES.toReversed()) ignoring(["EEXIST"], () => close(openBeneath(dir, name, flags, 0o600)))
}

/** Whether there is no room although the disk has some, as by a quota of this user's; false where that cannot be tried. */
function isRefused(dir: number): boolean {
  try {
    withDescriptor(openAt(dir, ".", O_TMPFILE | O.WRONLY, 0o600), (fd) => allocate(fd, NEED.bytes))
    return false
  } catch (error) {
    return isDiskFull(error)
  }
}

/** `inodes`: undefined for a file system that makes them as it needs them. */
function freeIn(dir: string): { readonly bytes: number; readonly inodes: number | undefined } {
  const { bavail, bfree, bsize, files, ffree } = statfsSync(dir)
  const bytes = (process.geteuid?.() === 0 ? bfree : bavail) * bsize
  return { bytes, inodes: files === 0 ? undefined : ffree }
}
