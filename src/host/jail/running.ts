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
import { requireRaw } from "../../store/files/diskFormat.ts"
import type { Owner } from "./base.ts"
import { blockDevice, makeNode } from "./nodes.ts"
import { type DiskImage, requireContent, requireWhole } from "./sectors.ts"
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
 * which its owner can open only when it is complete, padded to whole sectors, or a node of a block device. A mount would not do: the VMM has a mount
 * namespace of its own by now. Throws a failure for an image that is empty or no file; what it made may stay.
 */
export async function stageImage(
  jail: RunningJail,
  name: string,
  source: string,
  { setting, signal }: StageOptions & Pick<DiskImage, "setting">,
): Promise<Placed> {
  if (isDevice(source)) return makeNode(jail, name, blockDevice(source))
  const from = openSource(source)
  try {
    requireContent({ setting, path: source, bytes: statDescriptor(from).size })
    requireRaw(from, { path: source })
    await stageContent(jail, name, from, { signal, disk: true })
    return jail.placed(name)
  } finally {
    close(from)
  }
}

/** Throws a failure for an image that a VMM without a jail could not use whole. */
export function requireImage(source: string, { setting }: Pick<DiskImage, "setting">): void {
  if (isDevice(source)) return
  const { size } = withDescriptor(openSource(source), (fd) => {
    requireRaw(fd, { path: source })
    return statDescriptor(fd)
  })
  requireWhole({ setting, path: source, bytes: size }, { jailed: false })
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

function isDevice(path: string): boolean {
  const named = unlessAbsent(() => openNamed(path, O.PATH), ["ENOENT", "ENOTDIR"])
  if (named === undefined) throw new Failure("BAD_FILE", `there is no file ${path}`, { subject: path })
  return withDescriptor(named, (fd) => isType(statDescriptor(fd), S.IFBLK))
}
