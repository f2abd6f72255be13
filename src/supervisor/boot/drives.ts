import { existsSync, statSync } from "node:fs"
import { dirname } from "node:path"
import { O, S } from "../../base/linux/constants.ts"
import { seek } from "../../base/linux/content.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { close, isType, openBeneath, openNamed, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { type Placed, withoutJail } from "../../base/terms/path.ts"
import { formatSize, parseSize } from "../../base/terms/quantity.ts"
import type { Jail } from "../../host/jail/makeJail.ts"
import { blockDevice, makeNode } from "../../host/jail/nodes.ts"
import { type DiskImage, isWhole, padToSectors, requireContent, requireWhole } from "../../host/jail/sectors.ts"
import type { StageRoot } from "../../host/jail/stage.ts"
import { bindOpen, stageFile } from "../../host/jail/stageFile.ts"
import { waysFor } from "../../host/jail/ways.ts"
import { type DiskDrive, type Drive, type HostDrive, isDisk } from "../../inputs/schema/vm.ts"
import { diskPath } from "../../store/disks/disks.ts"
import { giveDisk, readyDisk, requireDisk, roomIn, type WantedDisk } from "../../store/disks/readyDisk.ts"
import type { VmLayout } from "../../store/state/places.ts"
import { type ConfinementPlan, likelyOwner } from "./confinement.ts"
import type { FoundDrive, StagedDrive } from "./plan.ts"

/**
 * Throws a failure for a drive of a spec whose last bytes a guest would not see. One that the VM gets a private copy of may
 * have any size: the copy is padded. Nothing is made.
 */
export function requireDrives(drives: readonly Drive[], jail: ConfinementPlan["jail"]): void {
  for (const [index, drive] of drives.entries()) {
    if (isDisk(drive)) continue
    const { path, readonly, stage: way } = drive
    const stat = statSync(path)
    if (!stat.isFile() || isWhole(stat.size)) continue
    const image = { setting: `drives[${index}].path`, path, bytes: stat.size }
    const owner = likelyOwner(jail)
    const [likely] = owner === undefined ? [] : waysFor(path, stat, { owner, readonly, way })
    if (likely !== "copy" && likely !== "clone") requireWhole(image, { jailed: jail !== undefined })
  }
}

/** A drive of a plan: a persistent disk may not be there yet. */
export function plannedDrive(drive: Drive, { disks }: Pick<VmLayout, "disks">): FoundDrive {
  if (isDisk(drive)) return { ...drive, path: diskPath(disks, drive.persist), device: false }
  return findDrive(drive)
}

/** A drive for a VM without a jail, which uses it where it is; what a hook staged is padded. */
export function useDrive(root: StageRoot, drive: HostDrive): FoundDrive {
  const name = stagedName(root, drive.path)
  // What a symlink of the stage leads to is no file of the stage.
  const own = name === undefined ? undefined : unlessAbsent(() => takeStaged(root, name), ["ELOOP", "EXDEV"])
  if (own !== undefined) return { ...drive, device: false }
  const found = findDrive(drive)
  if (found.device) requireContent(deviceImage(drive.path))
  else requireWhole({ setting: "drives", path: drive.path, bytes: statSync(drive.path).size }, { jailed: false })
  return found
}

/** Stages a disk and returns where it is; one that a hook has staged is there already, and is padded. */
export async function stageDrive(
  jail: Jail,
  drive: HostDrive,
  { name, signal }: { readonly name: string; readonly signal: AbortSignal },
): Promise<StagedDrive> {
  const { path, readonly, stage: way } = drive
  const staged = stagedName(jail, path)
  if (staged !== undefined) return { ...drive, ...requireStaged(jail, staged), device: false }
  if (!findDrive(drive).device) {
    const placed = await stageFile(jail, name, path, { readonly, way, signal, disk: true })
    return { ...drive, ...placed, device: false }
  }
  if (way !== undefined)
    throw new Failure("BAD_PLUGIN", `drives: ${path} is a block device, which is not staged as a file`, {
      hint: "leave `stage` out",
      subject: path,
    })
  requireContent(deviceImage(path))
  return { ...drive, ...makeNode(jail, name, blockDevice(path)), device: true }
}

/** The persistent disks that a spec names, by name. Pure. */
export function disksOf(drives: readonly Drive[]): readonly string[] {
  return drives.filter(isDisk).map(({ persist }) => persist)
}

/**
 * Throws a failure for a persistent disk that a VM could not have as its spec wants it; which VM has it is not looked at. Returns
 * a line where the disks may come to need more room than there is. Nothing is made. `directory`: of the disks.
 */
export function requireDisks(drives: readonly Drive[], directory: string): string | undefined {
  const wanted = drives.flatMap((drive, index) => (isDisk(drive) ? [wantedDisk(drive, `drives[${index}]`)] : []))
  if (wanted.length === 0) return undefined
  const grow = wanted.reduce((sum, disk) => sum + requireDisk(directory, disk).growsBytes, 0)
  const place = nearestDirectory(directory)
  const room = roomIn(place)
  if (grow <= room) return undefined
  const names = wanted.map(({ name }) => name).join(", ")
  const [what, has] = wanted.length === 1 ? [`the disk ${names}`, "it"] : [`the disks ${names}`, "they"]
  return `${what} may come to take ${formatSize(grow)} more, and ${place} has ${formatSize(room)} left: when ${has} cannot grow, the guest gets I/O errors`
}

/** The first writable drive of a jailed VM of which each boot has a new private copy; undefined: there is none. */
export function copiedDrive(drives: readonly Drive[]): HostDrive | undefined {
  const copied = (drive: Drive): drive is HostDrive =>
    !isDisk(drive) &&
    !drive.readonly &&
    (drive.stage === undefined || drive.stage === "copy" || drive.stage === "clone")
  return drives.filter(copied).find(({ path }) => statSync(path).isFile())
}

/** Throws UNSUPPORTED for a spec with a persistent disk that is to go on from a snapshot: the disk has gone on since. Pure. */
export function requireNoDisks(drives: readonly Drive[]): void {
  const [disk] = disksOf(drives)
  if (disk === undefined) return
  const message = `--restore: the disk ${disk} persists, and is not as it was when the snapshot was taken`
  throw new Failure("UNSUPPORTED", message, { hint: "restore with a plugin without it, or boot the VM", subject: disk })
}

/** The disk of a VM without a jail, which uses it where it is. */
export async function useDisk(
  layout: VmLayout,
  drive: DiskDrive,
  how: { readonly signal: AbortSignal },
): Promise<StagedDrive> {
  close(await readyDisk(layout.disks, wantedDisk(drive, "drives"), how))
  return { ...drive, ...withoutJail(diskPath(layout.disks, drive.persist)), device: false }
}

/** Binds a disk itself, not a copy, into a jail, and gives it to the jail's owner until `takeBackDisk`. */
export async function stageDisk(
  jail: Jail,
  drive: DiskDrive,
  { name, signal, layout }: { readonly name: string; readonly signal: AbortSignal; readonly layout: VmLayout },
): Promise<StagedDrive> {
  const fd = await readyDisk(layout.disks, wantedDisk(drive, "drives"), { signal })
  try {
    giveDisk(fd, jail.owner)
    bindOpen(jail, name, fd, { readonly: drive.readonly })
  } finally {
    close(fd)
  }
  return { ...drive, ...jail.placed(name), device: false }
}

// --- internal ---

const SEEK_END = 2

/** Finds out whether a drive of the host is a block device. */
function findDrive(drive: HostDrive): FoundDrive {
  const device = withDescriptor(openNamed(drive.path, O.PATH), (fd) => isType(statDescriptor(fd), S.IFBLK))
  return { ...drive, device }
}

/** The name in the stage that a path is of, if it is of one. */
function stagedName(root: StageRoot, path: string): string | undefined {
  const staged = `${root.path}/`
  return path.startsWith(staged) ? path.slice(staged.length) : undefined
}

/** What a hook staged in a jail. What was bound there is not the VM's, and what a symlink leads to is not there. */
function requireStaged(jail: Jail, name: string): Placed {
  const placed = unlessAbsent(() => takeStaged(jail, name), ["ENOENT", "ENOTDIR", "ELOOP", "EXDEV"])
  if (placed !== undefined) return placed
  const { host } = jail.placed(name)
  const hint = "add what ctx.stage.write, ctx.stage.copy or ctx.stage.link returned"
  throw new Failure("BAD_FILE", `drives: ${host} is no file that a hook staged`, { hint, subject: host })
}

/** Makes a staged file a whole disk. One that has another name is somebody's own image, and is not changed. */
function takeStaged(root: StageRoot, name: string): Placed {
  const placed = root.placed(name)
  const stat = withDescriptor(openBeneath(root.fd, name, O.RDONLY | O.NONBLOCK), statDescriptor)
  if (!isType(stat, S.IFREG))
    throw new Failure("BAD_FILE", `drives: ${placed.host} is not a regular file`, { subject: placed.host })
  const image = { setting: "drives", path: placed.host, bytes: stat.size }
  if (stat.nlink !== 1) requireWhole(image, { jailed: false })
  requireContent(image)
  if (!isWhole(stat.size)) withDescriptor(openBeneath(root.fd, name, O.RDWR), padToSectors)
  return placed
}

/** A block device. One that cannot be looked into counts as full: the VMM tells of it. */
function deviceImage(path: string): DiskImage {
  const image = { setting: "drives", path }
  try {
    return withDescriptor(openNamed(path, O.RDONLY | O.NONBLOCK), (fd) => ({ ...image, bytes: seek(fd, 0, SEEK_END) }))
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return { ...image, bytes: Number.MAX_SAFE_INTEGER }
  }
}

function wantedDisk({ persist, size, path }: DiskDrive, setting: string): WantedDisk {
  return { name: persist, sizeBytes: size === undefined ? undefined : parseSize(size), image: path, setting }
}

function nearestDirectory(path: string): string {
  return existsSync(path) ? path : nearestDirectory(dirname(path))
}
