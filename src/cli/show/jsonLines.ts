import { lineCutter } from "../../base/terms/lines.ts"
import { jsonText } from "../../base/terms/message.ts"
import type { LogLine } from "./documents.ts"

/** Bytes as lines of JSON, `{"line":"…"}` each. */
export interface LineWriter {
  /** Prints the lines that these bytes end. False when nobody reads any more. */
  write(bytes: Uint8Array): boolean
  /** Prints what is left: a line without an end. */
  end(): void
}

/**
 * Cuts what is written into lines, however the chunks fall, and prints each as JSON; lines that `isJson` says are JSON stay as
 * they are. What is not UTF-8 becomes U+FFFD.
 */
export function jsonLines(print: (line: string) => boolean, isJson: (line: string) => boolean): LineWriter {
  const cutter = lineCutter()
  const printLine = (line: string) =>
    print(isJson(line) ? line : jsonText({ line: line.replace(/\r$/, "") } satisfies LogLine))
  return {
    write: (bytes) => cutter.cut(bytes).every(printLine),
    end() {
      const rest = cutter.takeRest()
      if (rest !== "") printLine(rest)
    },
  }
}
