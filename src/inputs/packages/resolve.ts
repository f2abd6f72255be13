import { dirname, join, resolve } from "node:path"

/** What a package.json says of where its files are. Anything but these is ignored. */
export interface Package {
  readonly name?: unknown
  readonly type?: unknown
  readonly main?: unknown
  readonly module?: unknown
  readonly exports?: unknown
  readonly imports?: unknown
}

/** The files that a resolver looks at. */
export interface PackageFiles {
  readonly isFile: (path: string) => boolean
  readonly isDirectory: (path: string) => boolean
  /** The package.json of this very directory; undefined: it has none. */
  readonly packageIn: (directory: string) => Package | undefined
}

/** How a module names another: by this word, in this file. */
export interface Import {
  readonly word: string
  readonly importer: string
  readonly naming: "import" | "require"
}

/**
 * The file that a word of a module leads to by the rules of packages, which Node and Bun share (`exports`, `imports`, `main`, a
 * directory's index, the node_modules above the module), or undefined where these say nothing of it: a relative file, something built
 * in, a package that is not there. Looks at nothing but the package.json files of what is imported, and the module's own. Pure, but
 * for `files`.
 */
export function resolvePackage({ word, importer, naming }: Import, files: PackageFiles): string | undefined {
  const from = dirname(importer)
  if (/^\.{0,2}\//.test(word) || word === "." || word === "..") return directoryOf(resolve(from, word), files)
  if (word.startsWith("#")) return importedBy({ word, importer, naming }, files)
  const { name, rest } = partsOf(word) ?? {}
  if (name === undefined || rest === undefined) return undefined
  const own = packageAbove(from, files)
  if (own?.json.name === name && own.json.exports !== undefined)
    return exported(own.json.exports, `.${rest}`, { directory: own.directory, naming, files })
  for (const directory of directoriesOf(name, from, files)) {
    const { exports } = files.packageIn(directory) ?? {}
    const found =
      exports === undefined || exports === null
        ? fileOrDirectory(join(directory, rest), files)
        : exported(exports, `.${rest}`, { directory, naming, files })
    if (found !== undefined) return found
  }
  return undefined
}

/** The package that a file is of: the nearest package.json above it. */
export function packageAbove(
  directory: string,
  files: PackageFiles,
): { readonly directory: string; readonly json: Package } | undefined {
  for (const above of upwards(directory)) {
    // What is below it is no package's own.
    if (above.endsWith("/node_modules")) return undefined
    const json = files.packageIn(above)
    if (json !== undefined) return { directory: above, json }
  }
  return undefined
}

/** The name of the package that a word is of, or undefined: it names a file, an import of its package's own, or a URL. */
export function packageNameOf(word: string): string | undefined {
  return partsOf(word)?.name
}

/** Where a package is, as a module of this directory sees it. */
export function packageDirectory(name: string, from: string, files: PackageFiles): string | undefined {
  return directoriesOf(name, from, files).next().value ?? undefined
}

// --- internal ---

const NAME = /^((?:@[^/:%\\#]+\/)?[^@./:%\\#][^/:%\\]*)((?:\/.*)?)$/

/** What holds here, beside `import` or `require`. */
const CONDITIONS: readonly string[] = ["bun", "node", "default"]

/** In this order, where a name has none. */
const EXTENSIONS = [".js", ".ts", ".cjs", ".mjs", ".json", ".tsx", ".jsx", ".cts", ".mts"]

interface Within {
  readonly directory: string
  readonly naming: Import["naming"]
  readonly files: PackageFiles
}

/** `util/` means a package where `util` is built in. */
function partsOf(word: string): { readonly name: string; readonly rest: string } | undefined {
  const [, name, rest = ""] = NAME.exec(word) ?? []
  return name === undefined ? undefined : { name, rest: rest === "/" ? "" : rest }
}

function* directoriesOf(name: string, from: string, files: PackageFiles): Generator<string> {
  for (const above of upwards(from)) {
    if (above.endsWith("/node_modules")) continue
    const directory = join(above, "node_modules", name)
    if (files.isDirectory(directory)) yield directory
  }
}

/** A directory, and those above it. */
function* upwards(directory: string): Generator<string> {
  for (let at = directory; ; at = dirname(at)) {
    yield at
    if (at === dirname(at)) return
  }
}

function importedBy({ word, importer, naming }: Import, files: PackageFiles): string | undefined {
  const own = packageAbove(dirname(importer), files)
  if (own === undefined || !isMap(own.json.imports)) return undefined
  const [target, part] = matching(own.json.imports, word) ?? []
  const within = { directory: own.directory, naming, files }
  const path = target === undefined ? undefined : pathOf(target, part, within)
  if (path === undefined || path.startsWith("/")) return path
  return resolvePackage({ word: path, importer: join(own.directory, "package.json"), naming }, files)
}

function exported(exports: unknown, part: string, within: Within): string | undefined {
  const paths = isMap(exports) && Object.keys(exports).some((key) => key.startsWith(".")) ? exports : { ".": exports }
  const [target, star] = matching(paths, part) ?? []
  const path = target === undefined ? undefined : pathOf(target, star, within)
  return path?.startsWith("/") ? path : undefined
}

/** The entry of a map for a name, and what its star stands for: the name itself, else the longest pattern. */
function matching(map: Readonly<Record<string, unknown>>, name: string): [target: unknown, star?: string] | undefined {
  if (Object.hasOwn(map, name) && !name.includes("*")) return [map[name]]
  const patterns = Object.keys(map)
    .filter((key) => key.includes("*"))
    .sort((a, b) => b.indexOf("*") - a.indexOf("*") || b.length - a.length)
  for (const pattern of patterns) {
    const [before = "", after = ""] = pattern.split("*")
    const fits = name.startsWith(before) && name.endsWith(after) && name.length >= before.length + after.length
    if (fits) return [map[pattern], name.slice(before.length, name.length - after.length)]
  }
  return undefined
}

/** The path that a target leads to here; a word of another package's stays as it is. */
function pathOf(target: unknown, star: string | undefined, within: Within): string | undefined {
  if (typeof target === "string") {
    const filled = star === undefined ? target : target.replaceAll("*", star)
    if (!filled.startsWith("./")) return filled.startsWith("/") || filled.startsWith("..") ? undefined : filled
    const path = join(within.directory, filled)
    return path.startsWith(`${within.directory}/`) && within.files.isFile(path) ? path : undefined
  }
  if (Array.isArray(target)) return first(target, (each) => pathOf(each, star, within))
  if (!isMap(target)) return undefined
  const holding = Object.keys(target).filter((key) => key === within.naming || CONDITIONS.includes(key))
  return first(holding, (key) => pathOf(target[key], star, within))
}

function first<T>(list: readonly T[], look: (each: T) => string | undefined): string | undefined {
  for (const each of list) {
    const found = look(each)
    if (found !== undefined) return found
  }
  return undefined
}

function fileOrDirectory(path: string, files: PackageFiles): string | undefined {
  return (
    fileAt(path, files) ?? (files.isDirectory(path) ? (directoryOf(path, files) ?? indexOf(path, files)) : undefined)
  )
}

function fileAt(path: string, files: PackageFiles): string | undefined {
  return first(["", ...EXTENSIONS], (end) => (files.isFile(path + end) ? path + end : undefined))
}

/** What a directory's own package.json names as its file; undefined: it is no directory, or names none. */
function directoryOf(path: string, files: PackageFiles): string | undefined {
  if (!files.isDirectory(path) || EXTENSIONS.some((end) => files.isFile(path + end))) return undefined
  const { main, module } = files.packageIn(path) ?? {}
  return first([main, module], (field) => {
    if (typeof field !== "string") return undefined
    const named = resolve(path, field)
    if (named !== path && !named.startsWith(`${path}/`)) return undefined
    return fileAt(named, files) ?? indexOf(named, files)
  })
}

function indexOf(path: string, files: PackageFiles): string | undefined {
  return fileAt(join(path, "index"), files)
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}
