import Module from "node:module"
import { dirname, extname } from "node:path"

/** Whether a module of this text is one of CommonJS, as Node and Bun tell: by its name, its words, and its package's `type`, which is looked for last. */
export function isCommonJs(
  path: string,
  text: string,
  has: { readonly type: () => unknown; readonly esWords: boolean },
): boolean {
  const end = extname(path)
  if (end === ".cjs" || end === ".cts") return true
  if (end === ".mjs" || end === ".mts" || has.esWords) return false
  return /\b(?:module|exports|require)\b/.test(text) && !/\bimport\.meta\b/.test(text) && has.type() !== "module"
}

/** What `require` takes and gives in one program. */
export interface Requiring {
  /** The file that a word leads to from a module's file, or undefined: it is the runtime's own, or nobody knows. */
  readonly resolve: (word: string, importer: string) => string | undefined
  /** What a file is: data, the code of a module of CommonJS, or undefined: the runtime loads it. Throws where it may not be read. */
  readonly read: (path: string) => { readonly data: unknown } | { readonly code: string } | undefined
}

/**
 * Has every `require` of this process resolve and read by these; returns what runs a module of CommonJS: once, and returns what it
 * exports. Bun's own `require` takes what a plugin of Bun's hands it for an ES module, and gives nothing of it.
 */
export function takeRequires({ resolve, read }: Requiring): (path: string, code: () => string) => unknown {
  const modules = new Map<string, CommonModule>()
  const own = internals.prototype.require
  const resolveOwn = internals._resolveFilename
  internals.prototype.require = function (word) {
    const path = this.filename === undefined || this.filename === null ? undefined : resolve(word, this.filename)
    if (path === undefined) return own.call(this, word)
    const known = modules.get(path)
    if (known !== undefined) return known.exports
    const found = read(path)
    if (found === undefined) return own.call(this, path)
    if ("code" in found) return run(path, () => found.code)
    const module = made(path)
    module.exports = found.data
    return module.exports
  }
  internals._resolveFilename = function (...args) {
    const [word, parent] = args
    const from = (parent as Partial<CommonModule> | undefined)?.filename
    const path = typeof word === "string" && typeof from === "string" ? resolve(word, from) : undefined
    return path ?? resolveOwn.apply(this, args)
  }
  return run

  function made(path: string): CommonModule {
    const module = new internals(path, undefined)
    module.filename = path
    module.path = dirname(path)
    modules.set(path, module)
    return module
  }

  function run(path: string, code: () => string): unknown {
    const known = modules.get(path)
    if (known !== undefined) return known.exports
    const module = made(path)
    try {
      module._compile(code(), path)
    } catch (error) {
      modules.delete(path)
      throw error
    }
    module.loaded = true
    return module.exports
  }
}

/** What an ES module sees of one of CommonJS: `default` and the names, as Bun gives them. */
export function seenByImport(exports: unknown): Record<string, unknown> {
  if ((typeof exports !== "object" && typeof exports !== "function") || exports === null) return { default: exports }
  const names = exports as Readonly<Record<string, unknown>>
  const { __esModule: _, ...seen } = names
  return names.__esModule === true && "default" in names
    ? { ...seen, default: names.default }
    : { ...seen, default: exports }
}

// --- internal ---

interface CommonModule {
  filename: string | null | undefined
  path: string
  exports: unknown
  loaded: boolean
  require(word: string): unknown
  _compile(code: string, path: string): void
}

/** What Bun's types do not have, and Bun does. */
const internals = Module as unknown as {
  new (path: string, parent: undefined): CommonModule
  prototype: CommonModule & { require(this: CommonModule, word: string): unknown }
  _resolveFilename(this: unknown, ...args: unknown[]): string
}
