import { O, S } from "../../base/linux/constants.ts"
import { ignoring, unlessAbsent } from "../../base/linux/errors.ts"
import {
  close,
  isType,
  openNamed,
  renameNoReplace,
  statAt,
  statDescriptor,
  unlinkAt,
  withDescriptor,
} from "../../base/linux/files.ts"
import { unmountAt } from "../../base/linux/mounts.ts"
import { Failure } from "../../base/terms/failure.ts"
import { type HostPath, inJail, type Placed } from "../../base/terms/path.ts"
import type { Owner } from "./base.ts"
import { blockDevice, makeNode } from "./nodes.ts"
import { openSource, type StageOptions, type StageRoot, stageContent, withParent } from "./stage.ts"

/** The root of a jail that a VMM runs in. Its owner may have put anything under any name there. */
export interface RunningJail extends StageRoot {
  readonly owner: Owner
}

/**
 * The running jail whose root is open as `fd` (O_PATH), proven to be the jail's, and has this path. Its files get the owner
 * of that directory. Throws CHANGED where that is root: then no VMM was ever confined to it.
 */
export function runningJail(fd: number, path: HostPath): RunningJail {
  const { uid, gid } = statDescriptor(fd)
  if (uid === 0) throw new Failure("CHANGED", `${path} belongs to root`, { subject: path })
  return { path, now: path, placed: (name) => inJail(path, name), fd, plain: fd, owner: { uid, gid } }
}

/**
 * Stages an image for a jail whose VMM runs, under a name that is not there yet, and returns where it is: a private copy,
 * which its owner can open only when it is complete, or a node of a block device. A mount would not do: the VMM has a mount
 * namespace of its own by now. Throws a failure for an image that no guest could read whole; what it made is gone then.
 */
export async function stageImage(
  jail: RunningJail,
  name: string,
  source: string,
  options: StageOptions,
): Promise<Placed> {
  if (isDevice(source)) return makeNode(jail, name, blockDevice(source))
  const from = openSource(source)
  try {
    requireSectors(source, statDescriptor(from).size)
    await stageContent(jail, name, from, options)
    return jail.placed(name)
  } finally {
    close(from)
  }
}

/** Throws a failure for an image that a VMM without a jail could not use whole. */
export function requireImage(source: string): void {
  if (isDevice(source)) return
  withDescriptor(openSource(source), (fd) => requireSectors(source, statDescriptor(fd).size))
}

/**
 * Removes a name of a running jail, and what this mount namespace has mounted there; the VMM keeps what it has open. A name
 * that is gone is fine, and so is something of the owner's own that is no file.
 */
export function unstage(jail: RunningJail, name: string): void {
  withParent(jail, name, (dir, base) => {
    // EINVAL: nothing is mounted there.
    ignoring(["ENOENT", "EINVAL"], () => unmountAt(dir, base))
    ignoring(["ENOENT", "EISDIR"], () => unlinkAt(dir, base))
  })
}

/** Whether a running jail has a name, whatever it is. */
export function isStaged(jail: RunningJail, name: string): boolean {
  return withParent(jail, name, (dir, base) => unlessAbsent(() => statAt(dir, base)) !== undefined)
}

/** Gives what is at a name of a running jail another name beside it, which must be free. */
export function renameStaged(jail: RunningJail, from: string, to: string): void {
  const base = to.slice(to.lastIndexOf("/") + 1)
  withParent(jail, from, (dir, old) => renameNoReplace(dir, old, dir, base))
}

// --- internal ---

/** Guests see a disk in sectors of this size; Firecracker cuts off what is left over. */
const SECTOR_BYTES = 512

function isDevice(path: string): boolean {
  return withDescriptor(openNamed(path, O.PATH), (fd) => isType(statDescriptor(fd), S.IFBLK))
}

function requireSectors(path: string, size: number): void {
  const refused = (words: string, hint?: string) => new Failure("BAD_FILE", `${path} ${words}`, { hint, subject: path })
  if (size === 0) throw refused("is empty")
  if (size % SECTOR_BYTES !== 0)
    throw refused(
      `has ${size} bytes, which are not whole sectors of ${SECTOR_BYTES}: the guest would not see its end`,
      `make it longer: truncate -s %${SECTOR_BYTES} ${path}`,
    )
}
