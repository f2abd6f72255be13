import { closeSync, fsyncSync, openSync, renameSync, unlinkSync, writeSync } from "node:fs"
import { basename, dirname, join } from "node:path"

/**
 * Replaces a file whole: after a crash at any point it holds either the old content or the new, never part of one.
 * Temporary file beside it (0600), fsync, rename, fsync of the directory. The directory must be private to this user.
 */
export function replaceFile(path: string, content: string): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`)
  const fd = openSync(temporary, "w", 0o600)
  try {
    const bytes = Buffer.from(content)
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
    fsyncSync(fd)
  } catch (error) {
    closeSync(fd)
    unlinkSync(temporary)
    throw error
  }
  closeSync(fd)
  renameSync(temporary, path)
  syncDirectory(dirname(path))
}

/** Makes names created, renamed or removed in a directory last (fsync(2) of the directory). */
export function syncDirectory(path: string): void {
  const fd = openSync(path, "r")
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
