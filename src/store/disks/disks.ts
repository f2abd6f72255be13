import { fstatSync, readdirSync } from "node:fs"
import { basename, dirname } from "node:path"
import { chmodDescriptor, procPath } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode, ignoring, unlessAbsent } from "../../base/linux/errors.ts"
import {
  close,
  isType,
  mkdirAt,
  openAt,
  openBeneath,
  openBeneathMounts,
  statDescriptor,
  verified,
  withDescriptor,
} from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"
import { NAME_PATTERN } from "../../base/terms/name.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { type HostPath, hostPath } from "../../base/terms/path.ts"
import { listed } from "../../base/terms/printable.ts"

// The room disks: persistent disks, which outlive the VMs that use them.
// The rule: a disk's name leads to one plain file without another name, or to nothing; one VM, or one command, has it at a time.

/** The directory of the disks, open. */
export interface Disks extends Disposable {
  readonly path: string
  readonly fd: number
}

/** A disk that is here. */
export interface PresentDisk {
  readonly name: string
  readonly path: HostPath
  /** What a guest sees. */
  readonly sizeBytes: number
  /** What it takes of the host's file system. */
  readonly usedBytes: number
}

/** Where the disk of this name is, or would be. Pure. */
export function diskPath(directory: string, name: string): HostPath {
  return hostPath(`${directory}/${fileOf(name)}`)
}

/** The name of a disk's file. Pure. */
export function fileOf(name: string): string {
  return `${name}${SUFFIX}`
}

/** Opens the directory of the disks, and makes it (0700) on first use. Throws UNTRUSTED where it is not this user's own. */
export function openDisks(path: string): Disks {
  const fd = withDescriptor(openAt(AT_FDCWD, dirname(path), O.PATH | O_DIRECTORY), (parent) => {
    ignoring(["EEXIST"], () => mkdirAt(parent, basename(path), 0o700))
    return enter(parent, path)
  })
  return opened(path, fd)
}

/** As `openDisks`; undefined where there is no such directory. Nothing is made. */
export function findDisks(path: string): Disks | undefined {
  const parent = unlessAbsent(() => openAt(AT_FDCWD, dirname(path), O.PATH | O_DIRECTORY), ["ENOENT", "ENOTDIR"])
  const fd = parent === undefined ? undefined : withDescriptor(parent, () => unlessAbsent(() => enter(parent, path)))
  return fd === undefined ? undefined : opened(path, fd)
}

/**
 * Opens the file of a disk; undefined where there is none. Throws BAD_FILE, with nothing opened, for anything but a plain file
 * of one name. The caller closes it.
 */
export function openDisk({ fd: dir, path }: Disks, name: string, flags: number = O.RDWR): number | undefined {
  const pinned = pin(dir, path, name)
  if (pinned === undefined) return undefined
  return withDescriptor(pinned, (fd) => {
    requirePlain(statDescriptor(fd), diskPath(path, name))
    return openAt(AT_FDCWD, procPath(fd), flags)
  })
}

/** As `openDisk`. Throws BAD_FILE, with the nearest name, where there is none. */
export function openPresentDisk(disks: Disks, name: string, flags: number = O.RDWR): number {
  const fd = openDisk(disks, name, flags)
  if (fd !== undefined) return fd
  throw noDisk(
    name,
    listDisks(disks).disks.map((disk) => disk.name),
  )
}

/** What is known of a disk; undefined where there is none. Throws as `openDisk` does. */
export function lookAtDisk(disks: Disks, name: string): PresentDisk | undefined {
  const fd = openDisk(disks, name, O.RDONLY)
  if (fd === undefined) return undefined
  return withDescriptor(fd, () => {
    const { size, blocks } = fstatSync(fd)
    return { name, path: diskPath(disks.path, name), sizeBytes: size, usedBytes: blocks * BLOCK_BYTES }
  })
}

/** The disks by name, and what has a disk's place and is none. */
export function listDisks(disks: Disks): {
  readonly disks: readonly PresentDisk[]
  readonly strange: readonly Failure[]
} {
  const found: PresentDisk[] = []
  const strange: Failure[] = []
  for (const name of namesIn(disks.path)) {
    try {
      const disk = lookAtDisk(disks, name)
      if (disk !== undefined) found.push(disk)
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      strange.push(error)
    }
  }
  return { disks: found, strange }
}

// --- internal ---

const SUFFIX = ".raw"

/** The unit of a file's blocks (stat(2)). */
const BLOCK_BYTES = 512

/** That no disk has this name. Pure. */
function noDisk(name: string, names: readonly string[]): Failure {
  const near = nearest(name, names)
  const meant = near === undefined ? "" : `; did you mean ${near}?`
  const hint = names.length === 0 ? "there is none yet: a plugin's `persist` makes one" : `there are ${listed(names)}`
  return new Failure("BAD_FILE", `there is no disk ${JSON.stringify(name)}${meant}`, { hint, subject: name })
}

function opened(path: string, fd: number): Disks {
  return { path, fd, [Symbol.dispose]: () => close(fd) }
}

/** A file system of its own may be mounted there; a symlink is refused. */
function enter(parent: number, path: string): number {
  const refused = (why: string, hint: string, cause?: unknown) =>
    new Failure("UNTRUSTED", `${path} ${why}`, { hint, subject: path, cause })
  const open = () => {
    try {
      return openBeneathMounts(parent, basename(path), O.RDONLY | O_DIRECTORY | O_NOFOLLOW)
    } catch (error) {
      if (errorCode(error) !== "ELOOP" && errorCode(error) !== "ENOTDIR") throw error
      throw refused("is not a directory", "to keep disks elsewhere, mount that place there", error)
    }
  }
  return verified(open(), (fd) => {
    const { uid, mode } = statDescriptor(fd)
    if (uid !== process.geteuid?.()) throw refused(`belongs to uid ${uid}`, "look at who made it, and move it away")
    if ((mode & 0o077) !== 0) chmodDescriptor(fd, 0o700)
  })
}

function pin(dir: number, path: string, name: string): number | undefined {
  // What is typed and what is read from a record leads to no other file.
  if (!NAME_PATTERN.test(name))
    throw new Failure("BAD_FILE", `${JSON.stringify(name)} is no disk's name`, { subject: name })
  try {
    return unlessAbsent(() => openBeneath(dir, fileOf(name), O.PATH | O_NOFOLLOW))
  } catch (error) {
    const code = errorCode(error)
    if (code !== "ELOOP" && code !== "EXDEV") throw error
    throw strangeFile(diskPath(path, name), code === "EXDEV" ? "has something mounted on it" : "is a symlink")
  }
}

function requirePlain(stat: Stat, path: string): void {
  if (isType(stat, S.IFLNK)) throw strangeFile(path, "is a symlink")
  if (!isType(stat, S.IFREG)) throw strangeFile(path, "is not a regular file")
  if (stat.nlink !== 1) throw strangeFile(path, `has ${stat.nlink} names`)
}

function strangeFile(path: string, why: string): Failure {
  const hint = "look at who put it there, and move it away; banger disk import makes a disk of an image"
  return new Failure("BAD_FILE", `${path} ${why}: no disk of banger's`, { hint, subject: path })
}

function namesIn(path: string): readonly string[] {
  const files = unlessAbsent(() => readdirSync(path)) ?? []
  return files
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length))
    .filter((name) => NAME_PATTERN.test(name))
    .sort()
}
