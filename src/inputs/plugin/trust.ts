import { basename, dirname } from "node:path"
import { hasAttribute } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { readAll } from "../../base/linux/content.ts"
import { close, isType, openAt, statDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"

/** A larger source file than this is not a plugin. */
const SOURCE_MAX_BYTES = 1024 * 1024

/** Whose code may run here. `uids` undefined: anybody's, because we run as an ordinary user. */
export interface Trust {
  readonly uids: readonly number[] | undefined
  /**
   * The only files of other users that may be loaded, by their sha256: a user who once had one plugin run as root may not
   * have another run later.
   */
  readonly known?: ReadonlySet<string>
}

/** As root, code may come from root and from the user who asked by sudo; an ordinary user runs what they can read. */
export function trustOf(uid: number, sudoUid: string | undefined): Trust {
  if (uid !== 0) return { uids: undefined }
  return { uids: /^[1-9]\d{0,9}$/.test(sudoUid ?? "") ? [0, Number(sudoUid)] : [0] }
}

/** Who asked root for a VM by sudo, and the sha256 of each file of the plugin then. */
export interface Asker {
  readonly uid: number
  readonly files: readonly string[]
}

/** As root, code may also come from the user that the VM was run for before, where it is as it was then. */
export function trustAgain(own: Trust, asker: Asker | undefined): Trust {
  if (own.uids === undefined || asker === undefined) return own
  return { uids: [...own.uids, asker.uid], known: new Set(asker.files) }
}

/**
 * Reads a source file by its real path. Where trust is asked for, every directory on the way and the file itself must
 * belong to a trusted user and be writable by no other, by mode or by ACL; the bytes returned are of the very file
 * that was checked. Throws a failure naming the component that is not safe.
 */
export function readTrusted(realPath: string, trust: Trust): Uint8Array<ArrayBuffer> {
  const dir = openDirectories(realPath, trust)
  try {
    const file = openAt(dir, basename(realPath), O.RDONLY | O_NOFOLLOW | O.NONBLOCK)
    try {
      return readSource(file, realPath, trust)
    } finally {
      close(file)
    }
  } finally {
    close(dir)
  }
}

/** In hex. */
export function sha256Of(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex")
}

// --- internal ---

function readSource(file: number, path: string, trust: Trust): Uint8Array<ArrayBuffer> {
  const stat = statDescriptor(file)
  const bad = (why: string) => new Failure("BAD_PLUGIN", `${path} ${why}`, { subject: path })
  if (!isType(stat, S.IFREG)) throw bad("is not a regular file")
  if (stat.size > SOURCE_MAX_BYTES) throw bad("is larger than 1 MiB: not a plugin")
  requireTrusted(file, stat, { path, trust, directory: false })
  const bytes = readAll(file, SOURCE_MAX_BYTES)
  if (trust.known !== undefined && stat.uid !== 0 && !trust.known.has(sha256Of(bytes)))
    throw bad("is not as it was when the VM was booted")
  return bytes
}

/** Walks from `/` to the file's directory, one component at a time, following no symlink. */
function openDirectories(realPath: string, trust: Trust): number {
  let path = "/"
  let dir = openAt(AT_FDCWD, "/", O.PATH | O_DIRECTORY)
  try {
    requireTrusted(dir, statDescriptor(dir), { path, trust, directory: true })
    for (const component of dirname(realPath)
      .split("/")
      .filter((part) => part !== "")) {
      path = path === "/" ? `/${component}` : `${path}/${component}`
      const next = openAt(dir, component, O.PATH | O_DIRECTORY | O_NOFOLLOW)
      close(dir)
      dir = next
      requireTrusted(dir, statDescriptor(dir), { path, trust, directory: true })
    }
    return dir
  } catch (error) {
    close(dir)
    throw error
  }
}

/**
 * A sticky directory (/tmp) may be crossed although all may write it: what a trusted user has in it, others can
 * neither rename nor remove, and the next component is checked to be a trusted user's.
 */
function requireTrusted(
  fd: number,
  stat: Stat,
  { path, trust, directory }: { readonly path: string; readonly trust: Trust; readonly directory: boolean },
): void {
  if (trust.uids === undefined) return
  const refuse = (why: string, hint: string) => {
    throw new Failure("UNTRUSTED", `${path} ${why}; not loaded as root`, { hint, subject: path })
  }
  const danger = "running it as root would let that user become root"
  if (!trust.uids.includes(stat.uid)) refuse(`belongs to uid ${stat.uid}`, `${danger}: chown root ${path}`)
  const sticky = directory && (stat.mode & S.ISVTX) !== 0
  if (sticky) return
  if ((stat.mode & 0o022) !== 0) refuse("can be written by others", `${danger}: chmod go-w ${path}`)
  if (hasAttribute(fd, "system.posix_acl_access")) refuse("has an access control list", `remove it: setfacl -b ${path}`)
}
