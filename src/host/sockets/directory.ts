import { readlinkSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { asFileOwner, CAP, hasCapabilities } from "../../base/linux/credentials.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { fileSystemMagic } from "../../base/linux/fileSystem.ts"
import { close, isType, openAt, openBeneath, openWithoutSymlinks, statDescriptor } from "../../base/linux/files.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"
import { SWEEP_UID } from "../../store/state/uids.ts"
import { fileSystemNamed } from "./fileSystems.ts"
import { isInLayer } from "./overlays.ts"
import type { Removal } from "./report.ts"

/** A directory that can be swept. */
export interface Directory {
  /** Its path as bytes: names need not be UTF-8. */
  readonly path: Uint8Array
  /** A descriptor to list it by. */
  readonly fd: number
  /** Another descriptor, with a position of its own, to wait by until binds in the directory are over. */
  readonly barrier: number
  readonly stat: Stat
  readonly fileSystem: string
  readonly removal: Removal
  /** Why removal is not exact here, and what would make it exact. */
  readonly inexact: { readonly detail: string; readonly hint: string } | undefined
}

/**
 * Opens a directory for a sweep. Symlinks above it are followed where only root or this user could have made them; the
 * directory itself must not be one. Throws a failure that says why it cannot be swept: it is on a file system where a live
 * socket can look dead, in a layer of an overlay, or a symlink. The caller closes it.
 */
export function openDirectory(path: string, layers: ReadonlySet<string>): Directory {
  const { fd, real } = openResolved(resolve(path), path)
  return examined(fd, new TextEncoder().encode(real), layers)
}

/** Opens a directory in another one; undefined when it is a mount or a symlink, or gone. */
export function openSubdirectory(
  parent: Directory,
  name: Uint8Array,
  layers: ReadonlySet<string>,
): Directory | undefined {
  return unlessAbsent(() => {
    const fd = openBeneath(parent.fd, name, O.RDONLY | O_DIRECTORY | O_NOFOLLOW)
    return examined(fd, joinPath(parent.path, name), layers)
  }, ["ENOENT", "ENOTDIR", "ELOOP", "EXDEV"])
}

/** Closes a directory. */
export function closeDirectory({ fd, barrier }: Directory): void {
  close(barrier)
  close(fd)
}

/** The path of a name in a directory, as bytes. */
export function joinPath(dir: Uint8Array, name: Uint8Array): Uint8Array {
  const path = new Uint8Array(dir.length + 1 + name.length)
  path.set(dir)
  path[dir.length] = SLASH
  path.set(name, dir.length + 1)
  return path
}

/** How a dead socket can be removed, given its directory and whether this process may give files away. Pure. */
export function removalIn(stat: Pick<Stat, "mode" | "uid">, able: boolean): Pick<Directory, "removal" | "inexact"> {
  if (!able) {
    const hint = "sweep as root, with the sticky bit on the directory, to make it exact"
    return { removal: "re-checked", inexact: { detail: "this user may not give files away", hint } }
  }
  if ((stat.mode & S.ISVTX) === 0) {
    const hint = "chmod +t on the directory makes it exact"
    return { removal: "re-checked", inexact: { detail: "the directory is not sticky", hint } }
  }
  if (stat.uid === SWEEP_UID) {
    const hint = "chown the directory to another user"
    return { removal: "re-checked", inexact: { detail: `the directory belongs to uid ${SWEEP_UID}`, hint } }
  }
  return { removal: "exact", inexact: undefined }
}

// --- internal ---

const SLASH = 47

/** As many symlinks as the kernel itself follows (path_resolution(7)). */
const SYMLINKS_MAX_COUNT = 40

let mayBeExact: boolean | undefined

function examined(fd: number, path: Uint8Array, layers: ReadonlySet<string>): Directory {
  let barrier: number | undefined
  try {
    const { name, allowed } = fileSystemNamed(fileSystemMagic(fd))
    if (!allowed) {
      const hint = "sweep it where its sockets are made; ext4, xfs, btrfs and tmpfs can be swept here"
      throw new Failure("UNSUPPORTED", `it is on ${name}, where a socket that is alive elsewhere looks dead`, { hint })
    }
    if (isInLayer(fd, layers)) {
      const hint = "sweep it through the overlay's own processes, or when it is unmounted"
      const message = "it is in a layer of an overlay, where a socket that is alive looks dead"
      throw new Failure("UNSUPPORTED", message, { hint })
    }
    barrier = openAt(fd, ".", O.RDONLY | O_DIRECTORY)
    const stat = statDescriptor(fd)
    mayBeExact ??= canGiveAway()
    return { path, fd, barrier, stat, fileSystem: name, ...removalIn(stat, mayBeExact) }
  } catch (error) {
    if (barrier !== undefined) close(barrier)
    close(fd)
    throw error
  }
}

function canGiveAway(): boolean {
  if (!hasCapabilities(CAP.CHOWN, CAP.DAC_OVERRIDE, CAP.SETUID)) return false
  try {
    asFileOwner(SWEEP_UID, () => {})
    return true
  } catch (error) {
    // A user namespace that lacks the uid is an answer; a system call that failed is not.
    if (errorCode(error) !== undefined) throw error
    return false
  }
}

function openResolved(path: string, named: string): { fd: number; real: string } {
  let real = path
  for (let followed = 0; followed < SYMLINKS_MAX_COUNT; followed++) {
    try {
      return { fd: openWithoutSymlinks(real, O.RDONLY | O_DIRECTORY | O_NOFOLLOW), real }
    } catch (error) {
      const code = errorCode(error)
      if (code === "ENOENT")
        throw new Failure("BAD_FILE", "there is no such directory", { subject: named, cause: error })
      if (code === "ENOTDIR" && !isSymlink(real))
        throw new Failure("BAD_FILE", "it is not a directory", { subject: named, cause: error })
      if (code !== "ELOOP" && code !== "ENOTDIR") throw error
      real = withoutFirstSymlink(real, named)
    }
  }
  const message = `there are more than ${SYMLINKS_MAX_COUNT} symlinks on the way to it`
  throw new Failure("BAD_FILE", message, { subject: named })
}

/** The path with its first symlink replaced by its target. */
function withoutFirstSymlink(path: string, named: string): string {
  const parts = path.split("/").filter((part) => part !== "")
  for (const [index] of parts.entries()) {
    const here = `/${parts.slice(0, index + 1).join("/")}`
    if (!isSymlink(here)) continue
    if (index === parts.length - 1) {
      const hint = `name the directory that ${named} points to`
      throw new Failure("BAD_FILE", "it is a symlink", { hint, subject: named })
    }
    // Throws where anyone but root and this user could change the symlink.
    close(pinDirectory(dirname(here)))
    return resolve(dirname(here), readlinkSync(here), ...parts.slice(index + 1))
  }
  return path
}

function isSymlink(path: string): boolean {
  const fd = openAt(-100, path, O.PATH | O_NOFOLLOW)
  try {
    return isType(statDescriptor(fd), S.IFLNK)
  } finally {
    close(fd)
  }
}
