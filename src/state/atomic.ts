import { closeSync, fsyncSync, openSync, renameSync, unlinkSync, writeSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { errorCode } from "../linux/errors.ts"

/**
 * Replaces a file whole: after a crash at any point it holds either the old content or the new, never part of one.
 * Temporary file beside it (0600), fsync, rename, fsync of the directory. When it fails nothing of it is left.
 */
export function replaceFile(path: string, content: string): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`)
  const fd = openNew(temporary)
  try {
    try {
      const bytes = Buffer.from(content)
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(temporary, path)
  } catch (error) {
    unlinkSync(temporary)
    throw error
  }
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

// --- internal ---

/** Whatever has the name already, a crash left it, or somebody else in a directory that is not ours alone. */
function openNew(temporary: string): number {
  try {
    return openSync(temporary, "wx", 0o600)
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error
    unlinkSync(temporary)
    return openSync(temporary, "wx", 0o600)
  }
}
