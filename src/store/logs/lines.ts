import { readGrowing } from "./growing.ts"
import { watchFile } from "./watchFile.ts"

/** The lines of a file that grows. */
export interface Lines {
  /** The whole lines that have come since the last call. A file that is not there has none yet. */
  take(): readonly string[]
  /** Calls back soon after the file has grown, until the function it returns is called. */
  watch(changed: () => void): () => void
  close(): void
}

/** Reads a growing file line by line from its beginning, also after it is renamed or removed. */
export function followLines(path: string): Lines {
  const file = readGrowing(path)
  const decoder = new TextDecoder()
  let rest = ""
  return {
    take() {
      let text = rest
      file.drain((chunk) => {
        text += decoder.decode(chunk, { stream: true })
        return chunk.length
      })
      const lines = text.split("\n")
      rest = lines.pop() ?? ""
      return lines.filter((line) => line !== "")
    },
    watch(changed) {
      const watcher = watchFile(path, () => {
        changed()
        return true
      })
      changed()
      return () => watcher.close()
    },
    close: () => file.close(),
  }
}
