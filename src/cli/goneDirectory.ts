import { existsSync, readlinkSync } from "node:fs"
import type { ArgsDef } from "citty"
import { Failure } from "../base/terms/failure.ts"

/** The positionals that name a file or a directory; an option's value hint tells. */
const PATHS = ["plugin", "file", "dir"]

/**
 * Where this process's working directory was removed, it goes to `/`: a program of Bun's would look beside itself instead. Throws
 * BAD_FILE for a word that is a path from the directory that is gone.
 */
export function leaveGoneDirectory(
  args: ArgsDef,
  { values, more }: { readonly values: Readonly<Record<string, unknown>>; readonly more: readonly string[] },
): void {
  if (!isGone()) return
  process.chdir("/")
  const relative = relativePaths(args, { values, more })[0]
  if (relative === undefined) return
  throw new Failure("BAD_FILE", `the working directory was removed, so ${relative} leads nowhere`, {
    ...{ hint: "cd to a directory that is there, or give a path that begins with /", subject: relative },
  })
}

/** The words of a command line that are paths from the working directory. Pure. */
export function relativePaths(
  args: ArgsDef,
  { values, more }: { readonly values: Readonly<Record<string, unknown>>; readonly more: readonly string[] },
): readonly string[] {
  const named = Object.entries(args).flatMap(([name, { type, valueHint }]) => {
    const isPath = type === "positional" ? PATHS.includes(name) : /\b(?:FILE|DIR)$/.test(valueHint ?? "")
    const value = values[name]
    if (!isPath || typeof value !== "string") return []
    return type === "positional" ? [value, ...more] : [value]
  })
  return named.filter((word) => word !== "" && word !== "-" && !word.startsWith("/") && !/^[a-z]+:\/\//.test(word))
}

// --- internal ---

function isGone(): boolean {
  try {
    const path = readlinkSync("/proc/self/cwd")
    return path.endsWith(" (deleted)") && !existsSync(path)
  } catch {
    // Without /proc nothing is known of it.
    return false
  }
}
