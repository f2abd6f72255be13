import Module from "node:module"
import { dirname, extname, isAbsolute } from "node:path"
import { Failure } from "../../base/terms/failure.ts"
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
 * what runs. As root, imports that cannot be read this way are refused.
 */
export function serveImports({ trust, read, beforeCode }: Serving): void {
  const definePlugin = (plugin: unknown) => plugin
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
        const contents = path === read.path ? read.bytes : readModule(path, trust)
        seen.add(sha256Of(contents))
        if (loader === "json" || loader === "toml" || loader === "text") {
          modules.push(undefined)
          return { exports: { default: dataOf(loader, contents) }, loader: "object" }
        }
        const parser = new Bun.Transpiler({ ...NO_MACROS, loader, target: "bun" })
        const imports = scan(contents, parser)
        const plain = isPlain(contents, parser, imports)
        modules.push({ path, contents, plain, imports })
        if (!plain) beforeCode()
        if (trust.uids !== undefined) requireReadableImports(path, imports)
        return { contents: importingKept(path, contents), loader }
      })
      if (trust.uids === undefined) return
      build.onLoad({ filter: /.*/ }, ({ path }) => refuse(path))
      checkRequires()
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
 * The modules of code that were loaded, to be used again when their files have changed or are gone. Throws where what one imports
 * is not there any more.
 */
export function codeModules(): KeptModules {
  const code = modules.filter((module) => module !== undefined)
  const loaded = new Set(code.map(({ path }) => path))
  return Object.fromEntries(
    code.map(({ path, contents, imports: found }) => {
      const imports = found
        .map(({ path: name }) => [name, resolved(name, path, false) ?? ""] as const)
        .filter(([, target]) => loaded.has(target))
      return [path, { bytes: Buffer.from(contents).toString("base64"), imports: Object.fromEntries(imports) }]
    }),
  )
}

// --- internal ---

const seen = new Set<string>()

type CodeLoader = "ts" | "tsx" | "js" | "jsx"

interface Code {
  readonly path: string
  readonly contents: Uint8Array<ArrayBuffer>
  readonly plain: boolean
  readonly imports: readonly Bun.Import[]
}

/** Every module that was loaded; undefined for one of data. */
const modules: (Code | undefined)[] = []

/** A macro is code that would run here, before anything watches it. Not in Bun's types. */
const NO_MACROS: object = { macro: false }

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

/** Bun does not ask onLoad for a file without an extension, nor onResolve for a relative name. */
function requireReadableImports(path: string, imports: readonly Bun.Import[]): void {
  for (const found of imports) {
    // `checkRequires` looks at the target of each require() when it is called.
    if (found.kind === "import-statement" || found.kind === "dynamic-import") {
      const target = resolved(found.path, path, found.kind === "dynamic-import")
      if (target !== undefined) requireLoadable(target)
    }
  }
}

function scan(contents: Uint8Array, parser: Bun.Transpiler): readonly Bun.Import[] {
  try {
    return parser.scanImports(contents)
  } catch {
    // A syntax error: nothing of the file runs, and Bun tells where the error is.
    return []
  }
}

/** Undefined for `"banger"`, and for a missing module that import() names: the plugin may catch that. */
function resolved(name: string, importer: string, optional: boolean): string | undefined {
  if (name === "banger") return undefined
  try {
    return keptImport(name, importer) ?? Bun.resolveSync(name, dirname(importer))
  } catch (error) {
    if (optional) return undefined
    throw error
  }
}

function checkRequires(): void {
  const internals = Module as unknown as { _resolveFilename(this: unknown, ...args: unknown[]): string }
  const { _resolveFilename } = internals
  internals._resolveFilename = function (...args) {
    const path = _resolveFilename.apply(this, args)
    requireLoadable(path)
    return path
  }
}
