import { basename, dirname } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { sync, writeAll } from "../../base/linux/content.ts"
import { errorCode, ignoring } from "../../base/linux/errors.ts"
import { close, linkAt, openAt, renameAt, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"

/**
 * Replaces a file whole: after a crash at any point it holds either the old content or the new, never part of one.
 * Temporary file beside it (0600), fsync, rename, fsync of the directory. When it fails nothing of it is left. The file
 * that was there gets the name `previous`, when one is given.
 */
export function replaceFile(path: string, content: string, previous?: string): void {
  const write = (fd: number) => {
    writeAll(fd, new TextEncoder().encode(content))
    sync(fd)
  }
  replaceFileBy(path, write, previous)
  syncDirectory(dirname(path))
}

/** As `replaceFile`, with what `write` puts into the new file; it lasts through a loss of power only if `write` cares. */
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

/** Gives a file of ours another name, on the same file system. */
export function renameFile(from: string, to: string): void {
  withDescriptor(openAt(AT_FDCWD, dirname(from), O.PATH | O_DIRECTORY), (dir) =>
    withDescriptor(openAt(AT_FDCWD, dirname(to), O.PATH | O_DIRECTORY), (target) =>
      renameAt(dir, basename(from), target, basename(to)),
    ),
  )
}

/** Makes names created, renamed or removed in a directory last (fsync(2) of the directory). */
export function syncDirectory(path: string): void {
  const fd = openAt(AT_FDCWD, path, O.RDONLY | O_DIRECTORY)
  try {
    sync(fd)
  } finally {
    close(fd)
  }
}

// --- internal ---

/** A second name for the file, so that at no moment there is none. */
function keep(dir: number, name: string, previous: string): void {
  ignoring(["ENOENT"], () => unlinkAt(dir, previous))
  // The first of its kind; or a file system without links, on which the record's mirror must do.
  ignoring(["ENOENT", "EPERM", "EOPNOTSUPP", "EMLINK"], () => linkAt(dir, name, dir, previous))
}

/** Whatever has the name already, a crash left it, or somebody else in a directory that is not ours alone. */
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
