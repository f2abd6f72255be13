import { closeSync, openSync, readSync } from "node:fs"
import { errorCode } from "../../base/linux/errors.ts"
import { watchFile } from "./watchFile.ts"

/** The lines of a file that grows. */
export interface Lines {
  /** The whole lines that have come since the last call. A file that is not there has none yet. */
  take(): readonly string[]
  /** Calls back soon after the file has grown, until the function it returns is called. */
  watch(changed: () => void): () => void
  /** Lets go of the file. */
  close(): void
}

const CHUNK_BYTES = 64 * 1024

/**
 * Reads a growing file line by line, from its beginning; also when it gets another name, or none. What is not there is
 * looked for again.
 */
export function followLines(path: string): Lines {
  let fd: number | undefined
  let at = 0
  let rest = ""
  const decoder = new TextDecoder()
  const buffer = new Uint8Array(CHUNK_BYTES)
  const take = () => {
    fd ??= opened(path)
    if (fd === undefined) return []
    let text = rest
    for (let count = -1; count !== 0; at += count) {
      count = readSync(fd, buffer, 0, CHUNK_BYTES, at)
      text += decoder.decode(buffer.subarray(0, count), { stream: true })
    }
    const lines = text.split("\n")
    rest = lines.pop() ?? ""
    return lines.filter((line) => line !== "")
  }
  return {
    take,
    watch(changed) {
      const watcher = watchFile(path, () => {
        changed()
        return true
      })
      changed()
      return () => watcher.close()
    },
    close() {
      if (fd !== undefined) closeSync(fd)
      fd = undefined
    },
  }
}

// --- internal ---

function opened(path: string): number | undefined {
  try {
    return openSync(path, "r")
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined
    throw error
  }
}
