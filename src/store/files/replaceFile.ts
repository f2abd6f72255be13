import { readdirSync } from "node:fs"
import { basename, dirname } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { sync, writeAll } from "../../base/linux/content.ts"
import { hasEnded } from "../../base/linux/ended.ts"
import { errorCode, ignoring } from "../../base/linux/errors.ts"
import { close, linkAt, openAt, renameAt, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"

// The room files: files and directories without races: replace, pin, lock, copy, remove, watch; programs that may be run.
// The rule: go by descriptor, never by a path that somebody else could change in between.

/** How a file is replaced. */
export interface ReplaceOptions {
  /** The name that the old file gets. */
  readonly previous?: string
  /**
   * What of the new file a loss of power leaves. `file`: all of it, from now on. `content`: its content, once it has the name;
   * and it has the name before anything that is made afterwards in this file system, whose log keeps that order. `nothing`: it
   * may be empty.
   */
  readonly lasting?: "file" | "content" | "nothing"
}

/**
 * Replaces a file whole (0600): whenever a process is killed it holds either the old content or the new, never part of one;
 * and after a loss of power too, unless `lasting` is `nothing`. A failure leaves no temporary file behind.
 */
export function replaceFile(path: string, content: string, { previous, lasting = "file" }: ReplaceOptions = {}): void {
  const write = (fd: number) => {
    writeAll(fd, new TextEncoder().encode(content))
    if (lasting !== "nothing") sync(fd)
  }
  replaceFileBy(path, write, previous)
  if (lasting === "file") syncDirectory(dirname(path))
}

/** As `replaceFile`, with what `write` puts into the new file. Only if `write` syncs it, it survives a loss of power. */
export function replaceFileBy(path: string, write: (fd: number) => void, previous?: string): void {
  const name = basename(path)
  const temporary = `.${name}.${process.pid}.tmp`
  withDescriptor(openAt(AT_FDCWD, dirname(path), O.RDONLY | O_DIRECTORY), (dir) => {
    const fd = openNew(dir, temporary)
    try {
      withDescriptor(fd, write)
      if (previous !== undefined) keep(dir, name, previous)
      renameAt(dir, temporary, dir, name)
    } catch (error) {
      unlinkAt(dir, temporary)
      throw error
    }
  })
}

/**
 * Removes from a directory what replacements left there whose processes were killed in the middle of them. What cannot be
 * removed (a disk that cannot be written) does no harm, and stays.
 */
export function removeAbandoned(path: string): void {
  const abandoned = readdirSync(path).filter((name) => {
    const maker = makerOf(name)
    return maker !== undefined && hasEnded(maker)
  })
  if (abandoned.length === 0) return
  withDescriptor(openAt(AT_FDCWD, path, O.RDONLY | O_DIRECTORY), (dir) => {
    for (const name of abandoned) ignoring(["ENOENT", "EROFS", "EACCES", "EPERM"], () => unlinkAt(dir, name))
  })
}

/** The pid of the process that makes a file which is to take another's place; undefined for a file of any other name. */
export function makerOf(name: string): number | undefined {
  const [, pid] = /^\..+\.(\d+)\.tmp$/.exec(name) ?? []
  return pid === undefined ? undefined : Number(pid)
}

/** Gives a file of ours another name, on the same file system. */
export function renameFile(from: string, to: string): void {
  withDescriptor(openAt(AT_FDCWD, dirname(from), O.PATH | O_DIRECTORY), (dir) =>
    withDescriptor(openAt(AT_FDCWD, dirname(to), O.PATH | O_DIRECTORY), (target) =>
      renameAt(dir, basename(from), target, basename(to)),
    ),
  )
}

/** Makes the names of a directory, as they are now, survive a loss of power (fsync(2) of the directory). */
export function syncDirectory(path: string): void {
  const fd = openAt(AT_FDCWD, path, O.RDONLY | O_DIRECTORY)
  try {
    sync(fd)
  } finally {
    close(fd)
  }
}

// --- internal ---

/** Gives the old file a second name first, so that the path names a file at every moment. */
function keep(dir: number, name: string, previous: string): void {
  ignoring(["ENOENT"], () => unlinkAt(dir, previous))
  // There is no old file, or the file system has no links; then the mirror on the record is the only other copy.
  ignoring(["ENOENT", "EPERM", "EOPNOTSUPP", "EMLINK"], () => linkAt(dir, name, dir, previous))
}

/** A file of that name was left by a crash, or planted in a directory that is not ours alone: it is removed. */
function openNew(dir: number, name: string): number {
  const flags = O.WRONLY | O.CREAT | O.EXCL | O_NOFOLLOW
  try {
    return openAt(dir, name, flags, 0o600)
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
    unlinkAt(dir, name)
    return openAt(dir, name, flags, 0o600)
  }
}
