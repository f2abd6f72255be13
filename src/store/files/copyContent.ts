import { cloneInto, copyRange, readInto, seek, sendRange, setLength, writeAll } from "../../base/linux/content.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { statDescriptor } from "../../base/linux/files.ts"

const SEEK_SET = 0
const SEEK_CUR = 1
const SEEK_DATA = 3
const SEEK_HOLE = 4

/** One call copies at most this much, so that a large image does not hold the thread for long. */
const CHUNK_BYTES = 64 * 1024 * 1024

/** How a file's content is copied. */
export interface CopyOptions {
  readonly signal: AbortSignal
  /** Whether blocks may be, must be or are not to be shared. Default: they may. */
  readonly clone?: "try" | "never" | "only"
  /** `holes`: what is zero becomes a hole, and no block is shared. Default: as the source has it. */
  readonly zeros?: "holes"
}

/**
 * Fills an empty file with another's content. It shares blocks where the file system can, else copies and keeps holes. Where
 * the file system has no holes, the content is the same. Other work runs between chunks. An aborted signal ends the copy by
 * throwing its reason.
 */
export async function copyContent(
  source: number,
  target: number,
  { signal, clone = "try", zeros }: CopyOptions,
): Promise<void> {
  if (zeros === undefined && clone !== "never" && cloned(source, target, clone === "only")) return
  const { size } = statDescriptor(source)
  let copy = zeros === "holes" ? copyNonzero() : copyRange
  for (let at = nextData(source, 0); at < size; at = nextData(source, at)) {
    const end = Math.min(size, seek(source, at, SEEK_HOLE))
    seek(source, at, SEEK_SET)
    seek(target, at, SEEK_SET)
    while (at < end) {
      signal.throwIfAborted()
      const count = attempt(copy, () => copy(source, target, Math.min(CHUNK_BYTES, end - at)))
      if (count === undefined) {
        copy = sendRange
        continue
      }
      if (count === 0) break
      at += count
      // A small file is done in one call, and need not wait for other work.
      if (at < size) await new Promise(setImmediate)
    }
    if (at < end) break
  }
  setLength(target, size)
}

// --- internal ---

/** "Not this way, not between these two": another way may work. Any other error is a real failure. */
const NOT_THIS_WAY = ["EOPNOTSUPP", "EXDEV", "EINVAL", "ENOTTY", "ENOSYS"]

/** Zeros of this length are left out: pages of x86-64, and what most file systems allocate. */
const BLOCK_BYTES = 4096

/** One read for `copyNonzero`. */
const READ_BYTES = 1024 * 1024

/** Copies as `copyRange` does, but moves the target past blocks of zeros instead of writing them. */
function copyNonzero(): typeof copyRange {
  const buffer = new Uint8Array(READ_BYTES)
  const zeros = Buffer.alloc(READ_BYTES)
  const isZero = (from: number, to: number) => zeros.compare(buffer, from, to, 0, to - from) === 0
  return (source, target, length) => {
    const count = readInto(source, buffer.subarray(0, Math.min(length, READ_BYTES)))
    if (isZero(0, count)) {
      seek(target, count, SEEK_CUR)
      return count
    }
    let from = 0
    for (let at = 0; at < count; ) {
      const next = Math.min(at + BLOCK_BYTES, count)
      if (isZero(at, next)) {
        writeAll(target, buffer.subarray(from, at))
        seek(target, next - at, SEEK_CUR)
        from = next
      }
      at = next
    }
    writeAll(target, buffer.subarray(from, count))
    return count
  }
}

/** Undefined when copy_file_range(2) cannot copy between these two file systems. */
function attempt(copy: typeof copyRange, run: () => number): number | undefined {
  try {
    return run()
  } catch (error) {
    if (copy === copyRange && NOT_THIS_WAY.includes(errorCode(error) ?? "")) return undefined
    throw error
  }
}

function cloned(source: number, target: number, only: boolean): boolean {
  try {
    cloneInto(source, target)
    return true
  } catch (error) {
    if (only || !NOT_THIS_WAY.includes(errorCode(error) ?? "")) throw error
    return false
  }
}

/** Where the next data begins, or past the end when there is none. */
function nextData(fd: number, from: number): number {
  return unlessAbsent(() => seek(fd, from, SEEK_DATA), ["ENXIO"]) ?? Number.POSITIVE_INFINITY
}
