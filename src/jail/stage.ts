import { mkdirSync } from "node:fs"
import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../linux/constants.ts"
import { errorCode } from "../linux/errors.ts"
import {
  close,
  isType,
  linkDescriptor,
  mkdirAt,
  openAt,
  openBeneath,
  statDescriptor,
  withDescriptor,
  writeAll,
} from "../linux/files.ts"
import { AT_FDCWD } from "../linux/guards.ts"
import { Failure, usage } from "../terms/failure.ts"
import { copyContent } from "./copy.ts"

/** A directory that files are staged into, pinned by descriptor: names are resolved below it and nowhere else. */
export interface StageRoot {
  readonly path: string
  readonly fd: number
}

/** Makes the directory (0700) and pins it. The caller closes it with `closeStage`. EEXIST when it is there already. */
export function makeStage(path: string): StageRoot {
  mkdirSync(path, { mode: 0o700 })
  return { path, fd: openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY | O_NOFOLLOW) }
}

/** Lets go of a stage; what is in it stays. */
export function closeStage(root: StageRoot): void {
  close(root.fd)
}

/** Stages a new file (0600). Throws when the name is taken or leads out of the stage. */
export function stageWrite(root: StageRoot, name: string, content: Uint8Array): void {
  withDescriptor(createFile(root, name), (fd) => writeAll(fd, content))
}

/**
 * Stages a copy of a regular file: shared blocks where the file system can (FICLONE), else a sparse copy. Lets other
 * work go on while it copies, and ends early when `signal` is aborted.
 */
export async function stageCopy(root: StageRoot, name: string, source: string, signal: AbortSignal): Promise<void> {
  const from = openSource(source)
  try {
    const to = createFile(root, name)
    try {
      await copyContent(from, to, signal)
    } finally {
      close(to)
    }
  } finally {
    close(from)
  }
}

/** Stages a second name for a regular file of this user's own. Throws where a link is not possible. */
export function stageLink(root: StageRoot, name: string, source: string): void {
  withDescriptor(openSource(source), (from) => {
    const uid = process.geteuid?.() ?? 0
    const owner = statDescriptor(from).uid
    if (owner !== uid)
      throw new Failure(`${source} belongs to uid ${owner}, not to you`, { hint: "stage a copy instead" })
    withParent(root, name, (dir, base) => {
      try {
        linkDescriptor(from, dir, base)
      } catch (error) {
        if (errorCode(error) !== "EXDEV") throw error
        throw new Failure(`${source} is on another file system than ${root.path}`, { hint: "stage a copy instead" })
      }
    })
  })
}

// --- internal ---

function openSource(path: string): number {
  const fd = openAt(AT_FDCWD, path, O.RDONLY | O.NONBLOCK)
  if (isType(statDescriptor(fd), S.IFREG)) return fd
  close(fd)
  throw usage(`${path} is not a regular file`)
}

function createFile(root: StageRoot, name: string): number {
  return withParent(root, name, (dir, base) => openBeneath(dir, base, O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW, 0o600))
}

/** Opens the directory a name is in, making what is missing, each component beneath the one before. */
function withParent<T>(root: StageRoot, name: string, use: (dir: number, base: string) => T): T {
  const parts = components(name)
  const base = parts.pop() ?? ""
  let dir = openBeneath(root.fd, ".", O.PATH | O_DIRECTORY)
  try {
    for (const part of parts) {
      const next = enter(dir, part)
      close(dir)
      dir = next
    }
    return use(dir, base)
  } catch (error) {
    throw explain(error, name)
  } finally {
    close(dir)
  }
}

function enter(dir: number, name: string): number {
  try {
    mkdirAt(dir, name, 0o700)
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
  }
  return openBeneath(dir, name, O.PATH | O_DIRECTORY | O_NOFOLLOW)
}

/** The components of a staged name. Throws unless it is relative and made of plain names. */
function components(name: string): string[] {
  const parts = name.split("/")
  const plain = parts.every((part) => part !== "" && part !== "." && part !== ".." && !part.includes("\0"))
  if (plain && parts.every((part) => Buffer.byteLength(part) <= 255)) return parts
  throw usage(`${JSON.stringify(name)} cannot be staged`, "use a relative name without empty parts, `.` or `..`")
}

function explain(error: unknown, name: string): unknown {
  const code = errorCode(error)
  if (code === "EEXIST") return new Failure(`${name} is staged already`, { hint: "use another name", cause: error })
  if (code === "ELOOP" || code === "EXDEV" || code === "ENOTDIR") {
    return new Failure(`${name} leads through something that is no directory of the stage (${code})`, { cause: error })
  }
  return error
}
