import { existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { errorCode, isDiskFull } from "../../base/linux/errors.ts"
import { Failure, isFailure, messageOf, usageError } from "../../base/terms/failure.ts"
import { readDeclarations } from "./declarations.ts" with { type: "macro" }
import { packTypes } from "./runtimeTypes.ts" with { type: "macro" }
import { RUNTIME_TYPES, unpackTypes } from "./runtimeTypes.ts"
import starter from "./starter.template.txt" with { type: "text" }

// The room starter: what `banger init` writes.
// The rule: what a user wrote is never overwritten.

/** The text of banger.d.ts, built in: a macro runs when the program is bundled. */
const types: string = readDeclarations()

/** The types of Bun and Node, built in as well. */
const runtimeTypes: string = packTypes()

const TSCONFIG = `{
  "compilerOptions": {
    "target": "esnext",
    "module": "preserve",
    "moduleResolution": "bundler",
    "lib": ["esnext"],
    "types": [],
    "strict": true,
    "skipLibCheck": true,
    "allowImportingTsExtensions": true,
    "resolveJsonModule": true,
    "noEmit": true
  },
  "include": ["*.ts"]
}
`

/**
 * Writes a starter plugin, and beside it what an editor needs: banger.d.ts and, in .banger, the types of Bun and Node (both brought
 * up to date), and a tsconfig.json (unless there is one). With `typesOnly` no plugin. Returns the paths written. Throws a failure:
 * with nothing written when the plugin file is there already, and when a file cannot be written.
 */
export function writeStarter(
  file: string,
  { typesOnly = false }: { readonly typesOnly?: boolean } = {},
): readonly string[] {
  const plugin = resolve(file)
  if (!/\.(?:ts|mts)$/.test(plugin))
    throw usageError(`${file} is not a name for a plugin: it must end in .ts`, { subject: file })
  try {
    return writeAll(file, plugin, typesOnly)
  } catch (error) {
    if (isFailure(error)) throw error
    const code = isDiskFull(error) ? "NO_SPACE" : "BAD_FILE"
    const hint = "choose a directory that you can write to"
    throw new Failure(code, `${file} cannot be written: ${messageOf(error)}`, { hint, subject: file, cause: error })
  }
}

// --- internal ---

function writeAll(file: string, plugin: string, typesOnly: boolean): readonly string[] {
  const directory = dirname(plugin)
  const declarations = join(directory, "banger.d.ts")
  mkdirSync(directory, { recursive: true })
  requireOurs(declarations)
  if (!typesOnly && !writeNew(plugin, starter))
    throw new Failure("IN_USE", `${file} is there already`, {
      hint: `choose another name; or for its types alone: banger init --types ${file}`,
      subject: file,
    })
  const own = join(directory, ".banger")
  writeRuntimeTypes(own)
  const [first = "", ...lines] = types.split("\n")
  writeFileSync(declarations, [first, `/// <reference path="./${RUNTIME_TYPES}" />`, ...lines].join("\n"))
  const written = [...(typesOnly ? [] : [plugin]), declarations, own]
  const tsconfig = join(directory, "tsconfig.json")
  if (writeNew(tsconfig, TSCONFIG)) written.push(tsconfig)
  return written
}

function writeRuntimeTypes(own: string): void {
  if (lstatSync(own, { throwIfNoEntry: false })?.isSymbolicLink() === true)
    throw new Failure("IN_USE", `${own} is a symlink, not the directory banger makes`, {
      hint: "move it away",
      subject: own,
    })
  for (const [path, text] of unpackTypes(runtimeTypes)) {
    mkdirSync(dirname(join(own, path)), { recursive: true })
    writeFileSync(join(own, path), text)
  }
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
