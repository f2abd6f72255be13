import { dirname, extname, isAbsolute } from "node:path"
import { Failure } from "../../base/terms/failure.ts"
import { isCommonJs, seenByImport, takeRequires } from "../packages/commonJs.ts"
import { isBuiltIn, type Locator, locator } from "../packages/locate.ts"
import { placeOfImport, pointImports } from "../packages/pointImports.ts"
import { type Import, packageNameOf } from "../packages/resolve.ts"
import { keepsNothing } from "./keepsNothing.ts"
import { importingKept, type KeptModules, keepsModules, keptImport, readModule } from "./keptModules.ts"
import { sha256Of, type Trust } from "./trust.ts"

/** What a plugin may import, by the extension. */
export const LOADERS: Readonly<Record<string, CodeLoader | "json" | "toml" | "text">> = {
  ".ts": "ts",
  ".mts": "ts",
  ".cts": "ts",
  ".tsx": "tsx",
  ".js": "js",
  ".mjs": "js",
  ".cjs": "js",
  ".jsx": "jsx",
  ".json": "json",
  ".toml": "toml",
  ".txt": "text",
}

/** How imports are served. */
export interface Serving {
  readonly trust: Trust
  /** The plugin's own file, which has been read already: its real path, and its bytes. */
  readonly read: { readonly path: string; readonly bytes: Uint8Array<ArrayBuffer> }
  /** Hears that a module is about to run whose top-level code does more than to name functions and data. */
  readonly beforeCode: () => void
}

/**
 * Serves a plugin's imports: `"banger"` from this program, every file through `readTrusted`, so that what was checked is
 * what runs; packages by their own package.json files (`packages.ts`), since this program's runtime reads none. As root, imports
 * that cannot be read this way are refused.
 */
export function serveImports({ trust, read, beforeCode }: Serving): void {
  const definePlugin = (plugin: unknown) => plugin
  const open = (path: string) => (path === read.path ? read.bytes : readModule(path, trust))
  const found = locator({
    known: keptImport,
    read(path) {
      const bytes = open(path)
      seen.add(sha256Of(bytes))
      return bytes
    },
  })
  const look = (path: string) => lookAt(path, open(path), found)
  const runCommonJs = takeRequires({
    resolve(word, importer) {
      const path = isBuiltIn(word) ? undefined : targetOf(found, { word, importer, naming: "require" })
      if (path !== undefined && trust.uids !== undefined) requireLoadable(path)
      return path
    },
    read(path) {
      const loader = LOADERS[extname(path)]
      if (loader === undefined || loader === "toml" || loader === "text") return undefined
      if (loader === "json") return { data: servedData(loader, open(path)) }
      const code = look(path)
      return code.commonJs ? { code: served(code, { found, trust, beforeCode }) } : undefined
    },
  })
  Bun.plugin({
    name: "banger",
    setup(build) {
      build.module("banger", () => ({ exports: { definePlugin }, loader: "object" }))
      if (keepsModules())
        build.onResolve({ filter: /.*/ }, ({ path, importer }) => {
          const kept = keptImport(path, importer)
          return kept === undefined ? undefined : { path: kept, namespace: "file" }
        })
      build.onLoad({ filter: /\.(?:[cm]?[jt]sx?|json|toml|txt)$/ }, ({ path }) => {
        const loader = LOADERS[extname(path)] ?? "js"
        if (loader === "json" || loader === "toml" || loader === "text")
          return { exports: { default: servedData(loader, open(path)) }, loader: "object" }
        const code = look(path)
        const contents = () => served(code, { found, trust, beforeCode })
        if (code.commonJs) return { exports: seenByImport(runCommonJs(path, contents)), loader: "object" }
        return { contents: contents(), loader }
      })
      if (trust.uids === undefined) return
      build.onLoad({ filter: /.*/ }, ({ path }) => refuse(path))
    },
  })
}

/** The sha256 of every file that was loaded by now. */
export function loadedFiles(): readonly string[] {
  return [...seen]
}

/**
 * Whether it is certain that no module that was loaded keeps anything between two hooks (`keepsNothing`). What a data file
 * holds could be changed by a hook.
 */
export function modulesKeepNothing(): boolean {
  return modules.every((module) => module?.plain === true)
}

/**
 * The modules of code that were loaded, to be used again when their files have changed or are gone.
 */
export function codeModules(): KeptModules {
  const code = modules.filter((module) => module !== undefined)
  const loaded = new Set(code.map(({ path }) => path))
  return Object.fromEntries(
    code.map(({ path, contents, targets }) => {
      const imports = [...targets].filter(([, target]) => loaded.has(target))
      return [path, { bytes: Buffer.from(contents).toString("base64"), imports: Object.fromEntries(imports) }]
    }),
  )
}

/**
 * What Bun says where a module does not export what another imports, with the place of that import; undefined: it says something
 * else, or nobody is known to import it.
 */
export function missingExport(message: string): Failure | undefined {
  const [, name, target] = /^Export named '(.*)' not found in module '(.*)'\.$/.exec(message) ?? []
  for (const { path, contents, targets } of modules.filter((module) => module !== undefined)) {
    const text = textOf(contents)
    const word = [...targets].find(([, to]) => to === target)?.[0]
    const place = word === undefined || !text.includes(name ?? "") ? undefined : placeOfImport(text, word)
    if (place === undefined) continue
    const at = `${path}:${place.line}:${place.column}`
    const hint = `look at what ${target} exports`
    return new Failure("BAD_PLUGIN", `${at}: ${word} exports no ${name}`, { hint, subject: path })
  }
  return undefined
}

// --- internal ---

const seen = new Set<string>()

type CodeLoader = "ts" | "tsx" | "js" | "jsx"

interface Code {
  readonly path: string
  readonly contents: Uint8Array<ArrayBuffer>
  readonly plain: boolean
  /** What it imports, by the words that it says it with. */
  readonly targets: ReadonlyMap<string, string>
}

/** A module of code that was read, and not run yet. */
interface Looked {
  readonly path: string
  readonly contents: Uint8Array<ArrayBuffer>
  readonly loader: CodeLoader
  readonly parser: Bun.Transpiler
  readonly imports: readonly Bun.Import[]
  readonly commonJs: boolean
}

/** Every module that was loaded; undefined for one of data. */
const modules: (Code | undefined)[] = []

/** A macro is code that would run here, before anything watches it. Not in Bun's types. */
const NO_MACROS: object = { macro: false }

function lookAt(path: string, contents: Uint8Array<ArrayBuffer>, found: Locator): Looked {
  const named = LOADERS[extname(path)] ?? "js"
  const loader = named === "json" || named === "toml" || named === "text" ? "js" : named
  const parser = new Bun.Transpiler({ ...NO_MACROS, loader, target: "bun" })
  const { imports, exports } = scan(contents, parser)
  const esWords = exports.length > 0 || imports.some(({ kind }) => kind === "import-statement")
  const commonJs = isCommonJs(path, textOf(contents), { esWords, type: () => found.typeOf(path) })
  return { path, contents, loader, parser, imports, commonJs }
}

/** Notes a module that is about to run, refuses what it may not import; returns its code with its packages by their paths. */
function served(
  { path, contents, loader, parser, imports, commonJs }: Looked,
  { found, trust, beforeCode }: Pick<Serving, "trust" | "beforeCode"> & { readonly found: Locator },
): string {
  seen.add(sha256Of(contents))
  const plain = !commonJs && isPlain(contents, parser, imports)
  const targets = new Map<string, string>()
  const packages = new Map<string, string>()
  for (const { path: word, kind } of imports) {
    if (isBuiltIn(word)) continue
    const naming = kind.startsWith("require") ? "require" : "import"
    const located = found.locate({ word, importer: path, naming })
    const target = located ?? fileOf(word, path)
    if (target === undefined && kind === "import-statement") throw found.missing(word, path, textOf(contents))
    // What import() and require() name and is not there, the plugin may catch.
    if (target === undefined) continue
    // A require's target is looked at when it is called.
    if (trust.uids !== undefined && naming === "import") requireLoadable(target)
    targets.set(word, target)
    if (located !== undefined && naming === "import") packages.set(word, located)
  }
  modules.push({ path, contents, plain, targets })
  if (!plain) beforeCode()
  const text = textOf(importingKept(path, contents))
  const pointed = packages.size === 0 ? text : pointImports(text, parser, (word) => packages.get(word))
  if (!commonJs) return pointed
  const code = pointed.replace(/^#!.*/, "")
  return loader === "js" ? code : parser.transformSync(code)
}

/** The file that a word leads to, also where the runtime is to be asked; undefined: there is none. */
function targetOf(found: Locator, { word, importer, naming }: Import): string | undefined {
  return found.locate({ word, importer, naming }) ?? fileOf(word, importer)
}

/** What the runtime itself finds by a word that is no package's. */
function fileOf(word: string, importer: string): string | undefined {
  if (packageNameOf(word) !== undefined) return undefined
  try {
    return Bun.resolveSync(word, dirname(importer))
  } catch {
    return undefined
  }
}

function servedData(loader: "json" | "toml" | "text", contents: Uint8Array): unknown {
  seen.add(sha256Of(contents))
  modules.push(undefined)
  return dataOf(loader, contents)
}

function textOf(contents: Uint8Array): string {
  return new TextDecoder().decode(contents)
}

function isPlain(contents: Uint8Array, parser: Bun.Transpiler, imports: readonly Bun.Import[]): boolean {
  // Code in an import's own name comes to no onLoad.
  if (imports.some(({ path }) => /^(?:data|blob):/i.test(path))) return false
  try {
    return keepsNothing(parser.transformSync(contents))
  } catch {
    // A syntax error, or a macro.
    return false
  }
}

/** Parsed here: Bun would compile text that it is handed as if it were code. */
function dataOf(loader: "json" | "toml" | "text", contents: Uint8Array): unknown {
  const text = new TextDecoder().decode(contents)
  return loader === "text" ? text : loader === "json" ? JSON.parse(text) : Bun.TOML.parse(text)
}

function refuse(path: string): never {
  const what = "a plugin run as root may import only TypeScript, JavaScript, JSON, TOML and text"
  throw new Failure("UNTRUSTED", `${path}: ${what}`, {
    subject: path,
    hint: "what it is must show in the end of its name: .ts, .js, .json, .toml, .txt",
  })
}

function requireLoadable(path: string): void {
  if (isAbsolute(path) && LOADERS[extname(path)] === undefined) refuse(path)
}

function scan(contents: Uint8Array, parser: Bun.Transpiler): ReturnType<Bun.Transpiler["scan"]> {
  try {
    return parser.scan(contents)
  } catch {
    // A syntax error: nothing of the file runs, and Bun tells where the error is.
    return { imports: [], exports: [] }
  }
}
