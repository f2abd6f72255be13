import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { errorCode, isDiskFull } from "../../base/linux/errors.ts"
import { Failure, isFailure, messageOf, usageError } from "../../base/terms/failure.ts"
import { readDeclarations } from "./declarations.ts" with { type: "macro" }
import starter from "./starter.template.txt" with { type: "text" }

/** The text of banger.d.ts, built in: a macro runs when the program is bundled. */
const types: string = readDeclarations()

const TSCONFIG = `{
  "compilerOptions": {
    "target": "esnext",
    "module": "preserve",
    "moduleResolution": "bundler",
    "strict": true,
    "noEmit": true,
    "types": []
  },
  "include": ["*.ts"]
}
`

/**
 * Writes a starter plugin, and beside it banger.d.ts (brought up to date) and a tsconfig.json (unless there is one).
 * Returns the paths written. Throws a failure: with nothing written when the plugin file is there already, and when a file
 * cannot be written.
 */
export function writeStarter(file: string): readonly string[] {
  const plugin = resolve(file)
  if (!/\.(?:ts|mts)$/.test(plugin))
    throw usageError(`${file} is not a name for a plugin: it must end in .ts`, { subject: file })
  try {
    return writeAll(file, plugin)
  } catch (error) {
    if (isFailure(error)) throw error
    const code = isDiskFull(error) ? "NO_SPACE" : "BAD_FILE"
    const hint = "choose a directory that you can write to"
    throw new Failure(code, `${file} cannot be written: ${messageOf(error)}`, { hint, subject: file, cause: error })
  }
}

// --- internal ---

function writeAll(file: string, plugin: string): readonly string[] {
  const declarations = join(dirname(plugin), "banger.d.ts")
  mkdirSync(dirname(plugin), { recursive: true })
  requireOurs(declarations)
  if (!writeNew(plugin, starter))
    throw new Failure("IN_USE", `${file} is there already`, { hint: "choose another name", subject: file })
  writeFileSync(declarations, types)
  const written = [plugin, declarations]
  const tsconfig = join(dirname(plugin), "tsconfig.json")
  if (writeNew(tsconfig, TSCONFIG)) written.push(tsconfig)
  return written
}

/** Writes a file that is not there yet; tells whether it did. */
function writeNew(path: string, content: string): boolean {
  try {
    writeFileSync(path, content, { flag: "wx" })
    return true
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false
    throw error
  }
}

/** The types of an older banger are replaced; any other file of that name is the user's. */
function requireOurs(path: string): void {
  const [first = ""] = types.split("\n")
  if (existsSync(path) && !readFileSync(path, "utf8").startsWith(first)) {
    throw new Failure("IN_USE", `${path} is not the file banger writes`, { hint: "move it away", subject: path })
  }
}
