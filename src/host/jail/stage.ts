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
import { Failure, usageError } from "../../base/terms/failure.ts"
import { copyContent } from "../../store/files/copyContent.ts"
import type { Owner } from "./base.ts"

/** A directory that files are staged into, pinned by descriptor: names are resolved below it and nowhere else. */
export interface StageRoot {
  /** Where it is while the VM runs. */
  readonly path: string
  /** Where it is now. */
  readonly now: string
  /** Opened through the mount that the VMM will see. */
  readonly fd: number
  /** The same directory below that mount: hard links cannot cross from one mount to another. */
  readonly plain: number
  /** Who gets what is staged; undefined: this user. */
  readonly owner: Owner | undefined
}

/** Makes a plain directory (0700) to stage into and pins it. The caller closes it with `closeStage`. */
export function makeStage(path: string): StageRoot {
  mkdirAt(AT_FDCWD, path, 0o700)
  const fd = openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY | O_NOFOLLOW)
  return { path, now: path, fd, plain: fd, owner: undefined }
}

/** Lets go of a stage; what is in it stays. */
export function closeStage(root: StageRoot): void {
  close(root.fd)
}

/** Stages a new file (0600). Throws when the name is taken or leads out of the stage. */
export function stageWrite(root: StageRoot, name: string, content: Uint8Array): void {
  withDescriptor(createFile(root, name), (fd) => {
    writeAll(fd, content)
    giveAway(root, fd)
  })
}

/**
 * Stages a copy of a regular file: shared blocks where the file system can (FICLONE), else a sparse copy. Lets other
 * work go on while it copies, and ends early when `signal` is aborted.
 */
export async function stageCopy(root: StageRoot, name: string, source: string, signal: AbortSignal): Promise<void> {
  const from = openSource(source)
  try {
    await stageContent(root, name, from, signal)
  } finally {
    close(from)
  }
}

/** Stages a second name for a regular file that is the stage owner's alone. Throws where a link is not possible. */
export function stageLink(root: StageRoot, name: string, source: string): void {
  withDescriptor(openSource(source), (from) => {
    const { uid, nlink } = statDescriptor(from)
    const wanted = root.owner?.uid ?? process.geteuid?.() ?? 0
    const hint = "stage a copy instead"
    if (uid !== wanted) throw new Failure("FAILED", `${source} belongs to uid ${uid}, not to uid ${wanted}`, { hint })
    // What else has a name for the file would share what the VM writes to it.
    if (root.owner !== undefined && nlink !== 1) throw new Failure("FAILED", `${source} has ${nlink} names`, { hint })
    linkSource(root, name, source, from)
  })
}

/** A regular file that the user named, opened for reading: symlinks are resolved now, once. */
export function openSource(path: string): number {
  return verified(openNamed(path, O.RDONLY | O.NONBLOCK), (fd) => {
    if (!isType(statDescriptor(fd), S.IFREG)) throw usageError(`${path} is not a regular file`)
  })
}

/** Stages a private copy of an open file. `clone` says whether sharing its blocks is tried, refused, or all there is. */
export async function stageContent(
  root: StageRoot,
  name: string,
  source: number,
  signal: AbortSignal,
  clone: "try" | "never" | "only" = "try",
): Promise<void> {
  const to = createFile(root, name)
  try {
    await copyContent(source, to, { signal, clone })
    giveAway(root, to)
  } finally {
    close(to)
  }
}

/** Gives an open file a second name in the stage. */
export function linkSource(root: StageRoot, name: string, source: string, from: number): void {
  withParent(root, root.plain, name, (dir, base) => {
    try {
      linkDescriptor(from, dir, base)
    } catch (error) {
      if (errorCode(error) !== "EXDEV") throw error
      throw new Failure("FAILED", `${source} is on another file system or mount than ${root.path}`, {
        hint: "stage a copy instead",
      })
    }
  })
}

/** Makes a new empty file (0600, still this user's) and opens it for writing. The caller closes it. */
export function createFile(root: StageRoot, name: string): number {
  return withParent(root, root.fd, name, (dir, base) => {
    try {
      return openBeneath(dir, base, O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW, 0o600)
    } catch (error) {
      // What is bound there is on another mount.
      if (errorCode(error) !== "EXDEV") throw error
      throw new Failure("FAILED", `${name} is staged already`, { hint: "use another name", cause: error })
    }
  })
}

/** Opens (O_PATH) the directory that `name` is in, with the last component, making what is missing. */
export function withParent<T>(root: StageRoot, from: number, name: string, use: (dir: number, base: string) => T): T {
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
  throw usageError(`${JSON.stringify(name)} cannot be staged`, "use a relative name without empty parts, `.` or `..`")
}

function explain(error: unknown, name: string): unknown {
  const code = errorCode(error)
  if (code === "EEXIST")
    return new Failure("FAILED", `${name} is staged already`, { hint: "use another name", cause: error })
  if (code === "ELOOP" || code === "EXDEV" || code === "ENOTDIR") {
    return new Failure("FAILED", `${name} leads through something that is no directory of the stage (${code})`, {
      cause: error,
    })
  }
  return error
}
