import { realpathSync, statSync } from "node:fs"
import { isBuiltin } from "node:module"
import { dirname, join } from "node:path"
import * as v from "valibot"
import { Failure } from "../../base/terms/failure.ts"
import { once } from "../../base/terms/once.ts"
import { placeOfImport } from "./pointImports.ts"
import {
  type Import,
  type Package,
  type PackageFiles,
  packageAbove,
  packageDirectory,
  packageNameOf,
  resolvePackage,
} from "./resolve.ts"

// The room packages: what the modules of a plugin import from node_modules, and modules of CommonJS.
// The rule: every file is read by what the caller hands over, and no package.json but of what is imported.

/** Finds what a plugin's modules import. */
export interface Locator {
  /** The real path of what a word leads to, by the rules of packages; undefined where the runtime is to be asked. */
  readonly locate: (asked: Import) => string | undefined
  /** The `type` of the package that a module is of. */
  readonly typeOf: (path: string) => unknown
  /** Why a word leads nowhere, with where it stands in the module's text. */
  readonly missing: (word: string, importer: string, text: string) => Failure
}

/** How the files of packages are reached. */
export interface Reading {
  /** A file's bytes by its real path. Throws where it may not be read. */
  readonly read: (realPath: string) => Uint8Array
  /** What a word leads to whatever is on disk, if anything. */
  readonly known: (word: string, importer: string) => string | undefined
}

/** Looks in the plugin's own node_modules, and at the package.json files there. */
export function locator({ read, known }: Reading): Locator {
  const files = once(() => packageFiles(read))
  return {
    locate({ word, importer, naming }) {
      if (isBuiltIn(word)) return undefined
      const before = known(word, importer)
      if (before !== undefined) return before
      const path = resolvePackage({ word, importer, naming }, files())
      return path === undefined ? undefined : realpathSync(path)
    },
    typeOf: (path) => packageAbove(dirname(path), files())?.json.type,
    missing(word, importer, text) {
      const { line, column } = placeOfImport(text, word) ?? {}
      const at = line === undefined ? importer : `${importer}:${line}:${column}`
      return new Failure("BAD_PLUGIN", `${at}: ${whyMissing(word, importer, files())}`, {
        hint: hintFor(word, importer, files()),
        subject: importer,
      })
    },
  }
}

/** Bun cuts a module's name at its first question mark, as that of a URL. */
export const QUERY_HINT =
  "what stands behind a ? is not taken for a part of a file's name: rename the file, or its directory"

/** Whether this program or its runtime answers a word, whatever is installed. */
export function isBuiltIn(word: string): boolean {
  return (
    word === "banger" ||
    word === "bun" ||
    /^(?:bun|node|data|blob|file|https?):/.test(word) ||
    OWN.has(word) ||
    isBuiltin(word)
  )
}

// --- internal ---

/** Packages that Bun has in itself, since theirs do not suit it. */
const OWN = new Set(["@vercel/fetch", "abort-controller", "isomorphic-fetch", "node-fetch", "undici", "ws"])

const packageSchema = v.looseObject({})

function packageFiles(read: Reading["read"]): PackageFiles {
  const kinds = new Map<string, "file" | "directory" | undefined>()
  const packages = new Map<string, Package | undefined>()
  const kindOf = (path: string) => {
    if (!kinds.has(path)) {
      const stat = statSync(path, { throwIfNoEntry: false })
      kinds.set(path, stat?.isFile() ? "file" : stat?.isDirectory() ? "directory" : undefined)
    }
    return kinds.get(path)
  }
  const isFile = (path: string) => kindOf(path) === "file"
  return {
    isFile,
    isDirectory: (path) => kindOf(path) === "directory",
    packageIn(directory) {
      if (!packages.has(directory)) {
        const path = join(directory, "package.json")
        packages.set(directory, isFile(path) ? readPackage(path, read) : undefined)
      }
      return packages.get(directory)
    },
  }
}

function readPackage(path: string, read: Reading["read"]): Package {
  const bytes = read(realpathSync(path))
  try {
    return v.parse(packageSchema, JSON.parse(new TextDecoder().decode(bytes)))
  } catch (error) {
    throw new Failure("BAD_PLUGIN", `${path} is not JSON with an object`, { subject: path, cause: error })
  }
}

function whyMissing(word: string, importer: string, files: PackageFiles): string {
  const name = packageNameOf(word)
  if (name === undefined) return `there is no ${word}`
  const directory = packageDirectory(name, dirname(importer), files)
  if (directory === undefined) return `there is no package ${name} in node_modules here, or in a directory above`
  return `the package ${directory} has no file for ${JSON.stringify(word)}`
}

function hintFor(word: string, importer: string, files: PackageFiles): string | undefined {
  if (word.includes("?")) return QUERY_HINT
  const name = packageNameOf(word)
  const alias = "banger reads no tsconfig.json: what its paths name, import by a relative path"
  if (/^(?:[.#]|\/)/.test(word)) return undefined
  if (name === undefined) return alias
  if (packageDirectory(name, dirname(importer), files) !== undefined)
    return "its package.json tells what it has: look at main and exports there"
  return `install it there: npm install ${name}; or, if it is a file of yours: ${alias}`
}
