import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { sha256, sha256OfFile } from "./sha256.ts"

/** What went into a run, and what came out. A run with the old stamp's `made` and untouched files has nothing to do. */
export type Stamp = { made: string[]; files: Record<string, string> }

const name = "stamp.json"

export function readStamp(directory: string): Stamp | undefined {
  const path = join(directory, name)
  if (!existsSync(path)) return undefined
  try {
    return JSON.parse(readFileSync(path, "utf8"))
  } catch {
    // Half a stamp, from a run that was cut off, counts as none.
    return undefined
  }
}

export function writeStamp(directory: string, made: string[], names: readonly string[]): Stamp {
  const files = Object.fromEntries(names.map((file) => [file, sha256OfFile(join(directory, file)) ?? ""]))
  const stamp = { made, files }
  writeFileSync(join(directory, name), `${JSON.stringify(stamp, null, 2)}\n`)
  return stamp
}

export function isCurrent(directory: string, made: readonly string[]): boolean {
  const stamp = readStamp(directory)
  if (!stamp || !Bun.deepEquals(stamp.made, [...made])) return false
  return Object.entries(stamp.files).every(([file, sum]) => sha256OfFile(join(directory, file)) === sum)
}

/** One checksum for this folder: when these sources change, the guest must be made anew. */
export function sourcesSum(): string {
  const own = import.meta.dirname
  return sha256(
    readdirSync(own)
      .sort()
      .map((file) => `${file} ${sha256OfFile(join(own, file))}\n`)
      .join(""),
  )
}
