import { chmodDescriptor, chownDescriptor } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { writeAll } from "../../base/linux/content.ts"
import { errorCode } from "../../base/linux/errors.ts"
import {
  close,
  isType,
  linkDescriptor,
  mkdirAt,
  openAt,
  openBeneath,
  openNamed,
  statDescriptor,
  verified,
  withDescriptor,
} from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"
import { type HostPath, hostPath, type Placed, withoutJail } from "../../base/terms/path.ts"
import { copyContent } from "../../store/files/copyContent.ts"
import type { Owner } from "./base.ts"
import { padToSectors } from "./sectors.ts"

/** A directory that files are staged into, pinned by descriptor: names lead nowhere but below it. */
export interface StageRoot {
  /** Where it is while the VM runs. */
  readonly path: HostPath
  /** Where it is now. */
  readonly now: HostPath
  /** Both names that a file staged under this name has while the VM runs. */
  readonly placed: (name: string) => Placed
  /** A descriptor through the mount that the VMM will see. */
  readonly fd: number
  /** A descriptor of the same directory below that mount: a hard link cannot cross from one mount to another. */
  readonly plain: number
  /** The owner of what is staged; undefined: this user. */
  readonly owner: Owner | undefined
}

/** Makes a plain directory (0700) to stage into and pins it. The caller closes it with `closeStage`. */
export function makeStage(path: HostPath): StageRoot {
  mkdirAt(AT_FDCWD, path, 0o700)
  const fd = openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY | O_NOFOLLOW)
  const placed = (name: string) => withoutJail(hostPath(`${path}/${name}`))
  return { path, now: path, placed, fd, plain: fd, owner: undefined }
}

/** Closes a stage; what is in it stays. */
export function closeStage(root: StageRoot): void {
  close(root.fd)
}

/** Stages a new file (0600) and returns where it is. Throws when the name is taken or leads out of the stage. */
export function stageWrite(root: StageRoot, name: string, content: Uint8Array): Placed {
  withDescriptor(createFile(root, name), (fd) => {
    writeAll(fd, content)
    giveAway(root, fd)
  })
  return root.placed(name)
}

/** How staging is ended early: it throws the reason of the signal. */
export interface StageOptions {
  readonly signal: AbortSignal
}

/** How a file's content is staged. */
interface ContentOptions extends StageOptions {
  readonly clone?: "try" | "never" | "only"
  readonly disk?: boolean
}

/**
 * Stages a copy of a regular file and returns where it is. The copy shares blocks with the file where the file system can
 * (FICLONE), and is sparse elsewhere. Other work of this thread runs meanwhile.
 */
export async function stageCopy(root: StageRoot, name: string, source: string, options: StageOptions): Promise<Placed> {
  const from = openSource(source)
  try {
    await stageContent(root, name, from, options)
  } finally {
    close(from)
  }
  return root.placed(name)
}

/**
 * Stages a second name for a regular file that is the stage owner's alone, and returns where it is. Throws where a link
 * is not possible.
 */
export function stageLink(root: StageRoot, name: string, source: string): Placed {
  withDescriptor(openSource(source), (from) => {
    const { uid, nlink } = statDescriptor(from)
    const wanted = root.owner?.uid ?? process.geteuid?.() ?? 0
    const detail = { hint: "stage a copy instead", subject: source }
    if (uid !== wanted) throw new Failure("BAD_FILE", `${source} belongs to uid ${uid}, not to uid ${wanted}`, detail)
    // Whoever has another name for the file would share what the VM writes to it.
    if (root.owner !== undefined && nlink !== 1) throw new Failure("BAD_FILE", `${source} has ${nlink} names`, detail)
    linkSource(root, name, { fd: from, path: source })
  })
  return root.placed(name)
}

/** Opens a regular file that the user named, for reading. Symlinks are resolved here, once. */
export function openSource(path: string): number {
  return verified(openNamed(path, O.RDONLY | O.NONBLOCK), (fd) => {
    if (!isType(statDescriptor(fd), S.IFREG))
      throw new Failure("BAD_FILE", `${path} is not a regular file`, { subject: path })
  })
}

/**
 * Stages a private copy of an open file. `clone`: whether its blocks may be shared, must not be, or must be; `disk`: whether
 * it is padded to whole sectors.
 */
export async function stageContent(
  root: StageRoot,
  name: string,
  source: number,
  { signal, clone = "try", disk = false }: ContentOptions,
): Promise<void> {
  const to = createFile(root, name)
  try {
    await copyContent(source, to, { signal, clone })
    if (disk) padToSectors(to)
    giveAway(root, to)
  } finally {
    close(to)
  }
}

/** Stages a new disk that `fill` writes, padded to whole sectors, and returns where it is. */
export async function stageDisk(root: StageRoot, name: string, fill: (fd: number) => Promise<void>): Promise<Placed> {
  const to = createFile(root, name)
  try {
    await fill(to)
    padToSectors(to)
    giveAway(root, to)
  } finally {
    close(to)
  }
  return root.placed(name)
}

/** An open file of the host. */
export interface Source {
  readonly fd: number
  /** What the user calls it. */
  readonly path: string
}

/** Gives an open file a second name in the stage. */
export function linkSource(root: StageRoot, name: string, { fd, path }: Source): void {
  withParent(
    root,
    name,
    (dir, base) => {
      try {
        linkDescriptor(fd, dir, base)
      } catch (error) {
        if (errorCode(error) !== "EXDEV") throw error
        throw new Failure("BAD_FILE", `${path} is on another file system or mount than ${root.path}`, {
          subject: path,
          hint: "stage a copy instead",
        })
      }
    },
    { from: root.plain },
  )
}

/** Makes a new empty file (0600, still this user's) and opens it for writing. The caller closes it. */
export function createFile(root: StageRoot, name: string): number {
  return withParent(root, name, (dir, base) => {
    try {
      return openBeneath(dir, base, O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW, 0o600)
    } catch (error) {
      // A file that is bound there is on another mount.
      if (errorCode(error) !== "EXDEV") throw error
      throw stagedAlready(name, error)
    }
  })
}

/**
 * Opens (O_PATH) the directory that `name` is in, making what is missing, and calls `use` with it and the last component.
 * `from`: the stage's descriptor to begin at, `root.fd` unless it is given.
 */
export function withParent<T>(
  root: StageRoot,
  name: string,
  use: (dir: number, base: string) => T,
  { from = root.fd }: { readonly from?: number } = {},
): T {
  const parts = components(name)
  const base = parts.pop() ?? ""
  let dir = from
  try {
    for (const part of parts) {
      const next = enter(root, dir, part)
      if (dir !== from) close(dir)
      dir = next
    }
    return use(dir, base)
  } catch (error) {
    throw explain(error, name)
  } finally {
    if (dir !== from) close(dir)
  }
}

// --- internal ---

function giveAway({ owner }: StageRoot, fd: number): void {
  if (owner !== undefined) chownDescriptor(fd, owner.uid, owner.gid)
}

function enter(root: StageRoot, dir: number, name: string): number {
  let made = true
  try {
    mkdirAt(dir, name, 0o700)
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
    made = false
  }
  return verified(openBeneath(dir, name, O.PATH | O_DIRECTORY | O_NOFOLLOW), (fd) => {
    if (!made) return
    chmodDescriptor(fd, 0o700)
    giveAway(root, fd)
  })
}

/** The components of a staged name. Throws unless it is relative and made of plain names. */
function components(name: string): string[] {
  const parts = name.split("/")
  const plain = parts.every((part) => part !== "" && part !== "." && part !== ".." && !part.includes("\0"))
  if (plain && parts.every((part) => Buffer.byteLength(part) <= 255)) return parts
  const hint = "use a relative name without empty parts, `.` or `..`"
  throw new Failure("BAD_PLUGIN", `${JSON.stringify(name)} cannot be staged`, { hint, subject: name })
}

function explain(error: unknown, name: string): unknown {
  const code = errorCode(error)
  if (code === "EEXIST") return stagedAlready(name, error)
  if (code === "ELOOP" || code === "EXDEV" || code === "ENOTDIR") {
    const message = `${name} leads through something that is not a directory of the stage (${code})`
    return new Failure("BAD_PLUGIN", message, { hint: "use another name", subject: name, cause: error })
  }
  return error
}

function stagedAlready(name: string, cause: unknown): Failure {
  return new Failure("BAD_PLUGIN", `${name} is staged already`, { hint: "use another name", subject: name, cause })
}
