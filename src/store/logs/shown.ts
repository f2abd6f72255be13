import { closeSync, fstatSync, openSync } from "node:fs"
import { sendFrom, setLength } from "../../base/linux/content.ts"
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
