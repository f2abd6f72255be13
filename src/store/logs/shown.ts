import { closeSync, fstatSync, openSync } from "node:fs"
import { setLength } from "../../base/linux/content.ts"

/** How far a log was shown: kept in a file, so that whoever shows it next, after this process was killed, goes on from there. */
export interface Shown {
  /** The offset when this was opened; undefined where nobody had shown it. */
  readonly before: number | undefined
  /** Keeps an offset, at once. */
  note(offset: number): void
}

/** Opens the file of an offset, or makes it (0600). The caller's is the only process that writes it (mmap(2)). */
export function openShown(path: string): Shown {
  const fd = openSync(path, "a+", 0o600)
  let isNew = false
  try {
    isNew = fstatSync(fd).size !== OFFSET_BYTES
    if (isNew) setLength(fd, OFFSET_BYTES)
  } finally {
    closeSync(fd)
  }
  const bytes = Bun.mmap(path, { shared: true })
  const view = new DataView(bytes.buffer, bytes.byteOffset, OFFSET_BYTES)
  const kept = view.getFloat64(0, true)
  const before = !isNew && Number.isSafeInteger(kept) && kept >= 0 ? kept : undefined
  if (isNew) view.setFloat64(0, 0, true)
  // A file system call would leave time to be killed between what is shown and what is noted.
  return { before, note: (offset) => view.setFloat64(0, offset, true) }
}

// --- internal ---

const OFFSET_BYTES = 8
