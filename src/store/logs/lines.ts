import { lineCutter } from "../../base/terms/lines.ts"
import { readGrowing } from "./growing.ts"
import { watchFile } from "./watchFile.ts"

/** The lines of a file that grows. */
export interface Lines {
  /** The whole lines that have come since the last call. A file that is not there has none yet. */
  take(): readonly string[]
  /** Calls back at once, and soon after the file has grown, until the function it returns is called. */
  watch(changed: () => void): () => void
  close(): void
}

/** Reads a growing file line by line from its beginning, also after it is renamed or removed. */
export function followLines(path: string): Lines {
  const file = readGrowing(path)
  const cutter = lineCutter()
  return {
    take() {
      const lines: string[] = []
      file.drain((chunk) => {
        for (const line of cutter.cut(chunk)) if (line !== "") lines.push(line)
        return chunk.length
      })
      return lines
    },
    watch(changed) {
      const watcher = watchFile(path, () => {
        changed()
        return true
      })
      return () => watcher.close()
    },
    close: () => file.close(),
  }
}
