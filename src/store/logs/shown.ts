import { closeSync, fstatSync, openSync } from "node:fs"
import { sendFrom, setLength, writeAll } from "../../base/linux/content.ts"
import { isDiskFull } from "../../base/linux/errors.ts"
import type { Source } from "../../base/linux/writer.ts"

/** How far a log was shown: kept in a file, so that whoever shows it next, after this process was killed, goes on from there. */
export interface Shown {
  /** The offset when this was opened; undefined where nobody had shown it. */
  readonly before: number | undefined
  /** Keeps an offset, at once. */
  note(offset: number): void
  /** So many bytes of an open log, from the offset that is kept: the kernel moves them and notes that in one system call. */
  source(log: number, count: number): Source
}

/**
 * Opens the file of an offset, or makes it (0600). The caller's is the only process that writes it (mmap(2)). Undefined where there
 * is no room for it: then nobody notes how far the log was shown.
 */
export function openShown(path: string): Shown | undefined {
  const isNew = unlessFull(() => makeOffset(path))
  if (isNew === undefined) return undefined
  const bytes = Bun.mmap(path, { shared: true })
  const view = new DataView(bytes.buffer, bytes.byteOffset, OFFSET_BYTES)
  const kept = Number(view.getBigInt64(0, true))
  const before = !isNew && Number.isSafeInteger(kept) && kept >= 0 ? kept : undefined
  const note = (offset: number) => view.setBigInt64(0, BigInt(offset), true)
  if (isNew) note(0)
  const sendAll = (log: number, fd: number, count: number) => {
    let all = 0
    while (all < count) {
      const sent = sendFrom(log, fd, { offset: bytes, count: count - all })
      if (sent === undefined && all === 0) return undefined
      if (sent === undefined || sent === 0) break
      all += sent
    }
    return all
  }
  return { before, note, source: (log, count) => ({ sendTo: (fd) => sendAll(log, fd, count) }) }
}

// --- internal ---

const OFFSET_BYTES = 8

/** Whether it had to be made. */
function makeOffset(path: string): boolean {
  const fd = openSync(path, "a+", 0o600)
  try {
    if (fstatSync(fd).size === OFFSET_BYTES) return false
    setLength(fd, 0)
    // Not a hole: a full disk would end whoever writes into one by its memory (SIGBUS).
    writeAll(fd, new Uint8Array(OFFSET_BYTES))
    return true
  } finally {
    closeSync(fd)
  }
}

function unlessFull<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (!isDiskFull(error)) throw error
    return undefined
  }
}
