import { cloneInto, copyRange, seek, sendRange, setLength } from "../../base/linux/content.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { statDescriptor } from "../../base/linux/files.ts"

const SEEK_SET = 0
const SEEK_DATA = 3
const SEEK_HOLE = 4

/** One call copies at most this much, so that a large image does not hold the thread for long. */
const CHUNK_BYTES = 64 * 1024 * 1024

/**
 * Fills an empty file with another's content. It shares blocks where the file system can, else copies and keeps holes;
 * `clone` can insist on either. Other work runs between chunks. An aborted signal ends the copy by throwing its reason.
 */
export async function copyContent(
  source: number,
  target: number,
  { signal, clone = "try" }: { readonly signal: AbortSignal; readonly clone?: "try" | "never" | "only" },
): Promise<void> {
  if (clone !== "never" && cloned(source, target, clone === "only")) return
  const { size } = statDescriptor(source)
  let copy = copyRange
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
