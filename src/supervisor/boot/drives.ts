import { existsSync, statSync } from "node:fs"
import { dirname } from "node:path"
import { O, S } from "../../base/linux/constants.ts"
import { seek } from "../../base/linux/content.ts"
import { errorCode, isDiskFull, unlessAbsent } from "../../base/linux/errors.ts"
import { close, isType, openBeneath, openNamed, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { hostPath, type Placed, withoutJail } from "../../base/terms/path.ts"
import { formatSize, parseSize } from "../../base/terms/quantity.ts"
import { shellWords } from "../../base/terms/shell.ts"
import type { Jail } from "../../host/jail/makeJail.ts"
import { blockDevice, makeNode } from "../../host/jail/nodes.ts"
import { type DiskImage, isWhole, padToSectors, requireContent, requireWhole } from "../../host/jail/sectors.ts"
import { openSource, type StageRoot, stageContent, stageDisk as stageNewDisk } from "../../host/jail/stage.ts"
import { bindOpen, stageFile } from "../../host/jail/stageFile.ts"
import { waysFor } from "../../host/jail/ways.ts"
import { type DiskDrive, type Drive, type HostDrive, isDisk } from "../../inputs/schema/vm.ts"
import { copyImage, openImage } from "../../store/disks/content.ts"
import type { OnProgress } from "../../store/disks/convert.ts"
import { diskPath } from "../../store/disks/disks.ts"
import { giveDisk, readyDisk, requireDisk, roomIn, type WantedDisk } from "../../store/disks/readyDisk.ts"
import { requireRaw } from "../../store/files/diskFormat.ts"
import type { VmLayout } from "../../store/state/places.ts"
import { savedDisk } from "../snapshot/manifest.ts"
import { type ConfinementPlan, likelyOwner } from "./confinement.ts"
import type { FoundDrive, StagedDrive } from "./plan.ts"

/**
 * Throws a failure for a drive of a spec whose last bytes a guest would not see. One that the VM gets a private copy of may
 * have any size: the copy is padded. Nothing is made.
 */
export function requireDrives(drives: readonly Drive[], jail: ConfinementPlan["jail"]): void {
  for (const [index, drive] of drives.entries()) {
    if (isDisk(drive)) continue
    const { path, readonly, format, write } = drive
    const setting = `drives[${index}].path`
    const stat = statSync(path)
    if (!stat.isFile() && write === "private")
      throw new Failure("BAD_FILE", `${setting}: ${path} is a block device, which is not copied`, {
        ...{ hint: 'write: "shared"', subject: path },
      })
    if (!stat.isFile() && format === "qcow2")
      throw new Failure("BAD_FILE", `${setting}: ${path} is no qcow2 image`, { subject: path })
    if (!stat.isFile()) continue
    openImage({ setting, path, format })[Symbol.dispose]()
    const owner = likelyOwner(jail)
    const alone = isPrivate(drive) ? "copy" : undefined
    const [likely] = owner === undefined ? [alone] : waysFor(path, stat, { owner, readonly, way: wayOf(drive) })
    if (format === "qcow2" || isWhole(stat.size)) continue
    const image = { setting, path, bytes: stat.size }
    if (likely !== "copy" && likely !== "clone") requireWhole(image, { jailed: jail !== undefined })
  }
}

/** A drive of a plan: a persistent disk may not be there yet. `index`: its place in the spec. */
export function plannedDrive(
  drive: Drive,
  index: number,
  { disks, stage }: Pick<VmLayout, "disks" | "stage">,
): FoundDrive {
  if (isDisk(drive)) return { ...drive, path: diskPath(disks, drive.persist), device: false }
  const staged = () => ({ ...drive, path: `${stage}/${savedDisk(index)}`, device: false })
  if (drive.format === "qcow2") return staged()
  const found = findDrive(drive)
  return !found.device && isPrivate(drive) ? staged() : found
}

/**
 * A line for a drive of which the guest gets a private copy that goes with the VM, where the plugin does not say that this is meant.
 * Undefined for others, and for what a hook has staged, which is the VM's anyway.
 */
export function lostWrites(drive: Drive, root: StageRoot): string | undefined {
  if (isDisk(drive) || drive.write !== undefined || drive.stage !== undefined || !isPrivate(drive)) return undefined
  if (stagedName(root, drive.path) !== undefined || !statSync(drive.path).isFile()) return undefined
  const kept = 'write: "shared" changes the file itself, persist keeps a disk by name'
  return `what the guest writes to ${drive.path} goes to a copy, and with the VM (write: "private"); ${kept}`
}

/** How a drive is staged: under which name, and what hears how far a conversion is. */
export interface DriveStaging extends Converting {
  readonly name: string
}

/** What a conversion is told, and tells. */
interface Converting {
  readonly signal: AbortSignal
  readonly onProgress?: ((path: string) => OnProgress) | undefined
}

/**
 * A drive for a VM without a jail: a private copy in the stage, or the file where it is; what a hook staged is padded, and a qcow2
 * image converted into the stage. `asItIs`: never a copy.
 */
export async function useDrive(
  root: StageRoot,
  drive: HostDrive,
  how: DriveStaging & { readonly asItIs?: boolean },
): Promise<StagedDrive> {
  const there = (found: FoundDrive) => ({ ...found, ...withoutJail(hostPath(found.path)) })
  const name = stagedName(root, drive.path)
  // What a symlink of the stage leads to is no file of the stage.
  const own = name === undefined ? undefined : unlessAbsent(() => takeStaged(root, name, drive), ["ELOOP", "EXDEV"])
  if (own !== undefined) return there({ ...drive, device: false })
  if (drive.format === "qcow2") return await stageConverted(root, drive, how)
  const found = findDrive(drive)
  if (found.device) requireContent(deviceImage(drive.path))
  else {
    openImage({ setting: "drives", ...drive })[Symbol.dispose]()
    if (isPrivate(drive) && how.asItIs !== true)
      return { ...drive, ...(await stageOwn(root, drive, how)), device: false }
    requireWhole({ setting: "drives", path: drive.path, bytes: statSync(drive.path).size }, { jailed: false })
  }
  return there(found)
}

/** Stages a disk and returns where it is; one that a hook has staged is there already, and is padded. */
export async function stageDrive(jail: Jail, drive: HostDrive, how: DriveStaging): Promise<StagedDrive> {
  const { path, readonly, stage } = drive
  const { name, signal } = how
  const staged = stagedName(jail, path)
  if (staged !== undefined) return { ...drive, ...requireStaged(jail, staged, drive), device: false }
  if (drive.format === "qcow2") return await stageConverted(jail, drive, how)
  if (!findDrive(drive).device) {
    openImage({ setting: "drives", ...drive })[Symbol.dispose]()
    const placed = await stageFile(jail, name, path, { readonly, way: wayOf(drive), signal, disk: true })
    return { ...drive, ...placed, device: false }
  }
  if (stage !== undefined)
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

/** Throws UNSUPPORTED for a spec with a persistent disk that is to go on from a snapshot: the disk has gone on since. Pure. */
export function requireNoDisks(drives: readonly Drive[]): void {
  const [disk] = disksOf(drives)
  if (disk === undefined) return
  const message = `--restore: the disk ${disk} persists, and is not as it was when the snapshot was taken`
  throw new Failure("UNSUPPORTED", message, { hint: "restore with a plugin without it, or boot the VM", subject: disk })
}

/** The disk of a VM without a jail, which uses it where it is. */
export async function useDisk(layout: VmLayout, drive: DiskDrive, how: Converting): Promise<StagedDrive> {
  close(await readyDisk(layout.disks, wantedDisk(drive, "drives"), how))
  return { ...drive, ...withoutJail(diskPath(layout.disks, drive.persist)), device: false }
}

/** Binds a disk itself, not a copy, into a jail, and gives it to the jail's owner until `takeBackDisk`. */
export async function stageDisk(
  jail: Jail,
  drive: DiskDrive,
  { name, layout, ...how }: DriveStaging & { readonly layout: VmLayout },
): Promise<StagedDrive> {
  const fd = await readyDisk(layout.disks, wantedDisk(drive, "drives"), how)
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

/** Whether what a guest writes to a file goes to a copy that is the VM's alone. Pure. */
function isPrivate({ readonly, stage, write }: HostDrive): boolean {
  return !readonly && write !== "shared" && stage !== "bind" && stage !== "link"
}

/** The way into a jail that a drive insists on: what is shared is the file itself. Pure. */
function wayOf({ stage, write }: HostDrive): HostDrive["stage"] {
  return stage ?? (write === "shared" ? "bind" : undefined)
}

/** A private copy of an image, padded, in a stage without a jail. */
async function stageOwn(root: StageRoot, { path }: HostDrive, { name, signal }: DriveStaging): Promise<Placed> {
  const source = openSource(path)
  try {
    requireContent({ setting: "drives", path, bytes: statDescriptor(source).size })
    await stageContent(root, name, source, { signal, disk: true })
  } finally {
    close(source)
  }
  return root.placed(name)
}

/** A raw copy of a qcow2 image, which is the VM's own. */
async function stageConverted(
  root: StageRoot,
  drive: HostDrive,
  { name, signal, onProgress }: DriveStaging,
): Promise<StagedDrive> {
  using image = openImage({ setting: "drives", ...drive })
  const how = { signal, onProgress: onProgress?.(image.path) }
  try {
    return { ...drive, ...(await stageNewDisk(root, name, (fd) => copyImage(image, fd, how))), device: false }
  } catch (error) {
    if (!isDiskFull(error)) throw error
    const { path, bytes } = image
    // What is there after the stage has gone.
    const place = dirname(dirname(root.path))
    const message = `drives: ${path} is an image of ${formatSize(bytes)}, and what it has does not fit into ${place}: ${messageOf(error)}`
    throw new Failure("NO_SPACE", message, {
      hint: `make room there: ${shellWords(["df", place])}`,
      subject: path,
      cause: error,
    })
  }
}

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
function requireStaged(jail: Jail, name: string, drive: HostDrive): Placed {
  const placed = unlessAbsent(() => takeStaged(jail, name, drive), ["ENOENT", "ENOTDIR", "ELOOP", "EXDEV"])
  if (placed !== undefined) return placed
  const { host } = jail.placed(name)
  const hint = "add what ctx.stage.write, ctx.stage.copy or ctx.stage.link returned"
  throw new Failure("BAD_FILE", `drives: ${host} is no file that a hook staged`, { hint, subject: host })
}

/** Makes a staged file a whole disk. One that has another name is somebody's own image, and is not changed. */
function takeStaged(root: StageRoot, name: string, { format }: Pick<HostDrive, "format">): Placed {
  const placed = root.placed(name)
  if (format === "qcow2") {
    const hint = "give drives.add the image's own path"
    throw new Failure("BAD_PLUGIN", `drives: ${placed.host} is staged, and is not converted`, {
      hint,
      subject: placed.host,
    })
  }
  const stat = withDescriptor(openBeneath(root.fd, name, O.RDONLY | O.NONBLOCK), (fd) => {
    if (format === undefined && isType(statDescriptor(fd), S.IFREG))
      requireRaw(fd, { setting: "drives", path: placed.host })
    return statDescriptor(fd)
  })
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

function wantedDisk({ persist, size, path, format }: DiskDrive, setting: string): WantedDisk {
  const image = path === undefined ? undefined : { setting: `${setting}.path`, path, format }
  return { name: persist, sizeBytes: size === undefined ? undefined : parseSize(size), image, setting }
}

function nearestDirectory(path: string): string {
  return existsSync(path) ? path : nearestDirectory(dirname(path))
}
