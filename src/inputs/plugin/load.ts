import { extname } from "node:path"
import { errorCode } from "../../base/linux/errors.ts"
import { placeOf, withPlace } from "../../base/terms/compiled.ts"
import { Failure, type FailureDetail, isFailure, messageOf } from "../../base/terms/failure.ts"
import { once } from "../../base/terms/once.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { QUERY_HINT } from "../packages/locate.ts"
import { type Definition, hasHooks, readDefinition, readGuard, type Source } from "./definition.ts"
import { LOADERS, missingExport, serveImports } from "./imports.ts"
import { readModule, realPathOf } from "./keptModules.ts"
import { sha256Of, type Trust } from "./trust.ts"
import { denyWorkers } from "./workers.ts"

// The room plugin: loads a user's file, and checks what it exports.
// The rule: as root the bytes that run are the bytes whose owner and directories were checked.

/** A loaded plugin. */
export interface Loaded extends Definition {
  /** Of the plugin file's bytes, in hex. */
  readonly sha256: string
}

/** Top-level code of a plugin has this long, in milliseconds. */
export const LOAD_MAX_MS = 10_000

/** How a plugin is loaded. */
export interface Loading {
  /** The sha256 that its file must have, in hex. */
  readonly known?: string | undefined
  /** Hears that top-level code is about to run that could hold this thread (`serveImports`). */
  readonly beforeCode: () => void
}

/**
 * Loads a plugin file and checks its default export. `import … from "banger"` is answered by this program; every file
 * it imports is read through `readTrusted`, so that what was checked is what runs. Throws a failure that says what is
 * wrong and where, also when the file is not the one that is known. Loads one plugin per process.
 */
export async function loadPlugin(file: string, trust: Trust, loading: Loading): Promise<Loaded> {
  return load(file, trust, { read: readDefinition, ...loading })
}

/** As `loadPlugin`, for a plugin whose `sweepCandidate` hooks are wanted: it need not describe a VM. */
export async function loadGuard(file: string, trust: Trust): Promise<ReturnType<typeof readGuard>> {
  return load(file, trust, { read: readGuard, beforeCode() {} })
}

// --- internal ---

async function load<D extends Definition>(
  file: string,
  trust: Trust,
  { read, known, beforeCode }: Loading & { readonly read: (exported: unknown, source: Source) => D },
): Promise<D & { readonly sha256: string }> {
  const path = realPath(file)
  if (LOADERS[extname(path)] === undefined) throw bad(file, `${file} is not a plugin: its name must end in .ts or .js`)
  if (path.includes("?")) throw bad(path, `${path}: a plugin's path cannot have a ?`, { hint: QUERY_HINT })
  const bytes = readModule(path, trust)
  const sha256 = sha256Of(bytes)
  if (known !== undefined && known !== sha256) throw bad(path, `${path} has changed since the VM was booted`)
  requireSame(path, sha256)
  // To take them takes time that a plugin without code need not wait for.
  const deny = once(() => trust.uids !== undefined && denyWorkers())
  serveImports({
    trust,
    read: { path, bytes },
    beforeCode() {
      deny()
      beforeCode()
    },
  })
  // As many frames as it takes from within a package to the line of the plugin's that called it.
  Error.stackTraceLimit = Math.max(Error.stackTraceLimit, STACK_FRAMES_COUNT)
  const exported = await runModule(path)
  const definition = read(exported, { path, text: new TextDecoder().decode(bytes) })
  if (hasHooks(definition)) deny()
  return { ...definition, sha256 }
}

const STACK_FRAMES_COUNT = 50

/** The sha256 of each plugin file that this process has run. */
const run = new Map<string, string>()

/** A module runs once in a process: what runs must be what was checked now, not what was there before. */
function requireSame(path: string, sha256: string): void {
  if ((run.get(path) ?? sha256) !== sha256) throw bad(path, `${path} has changed since it was loaded`)
  run.set(path, sha256)
}

function realPath(file: string): string {
  try {
    return realPathOf(file)
  } catch (error) {
    if (errorCode(error) === "ENOENT")
      throw bad(file, `there is no plugin file ${file}`, { hint: `to write one: banger init ${file}` })
    throw bad(file, `the plugin file ${file} cannot be reached: ${messageOf(error)}`, { cause: error })
  }
}

async function runModule(path: string): Promise<unknown> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const message = `${path}: its top-level code did not finish in ${formatDuration(LOAD_MAX_MS)}`
  const hint = "move slow work into a hook"
  const timer = setTimeout(() => reject(new Failure("TIMED_OUT", message, { hint, subject: path })), LOAD_MAX_MS)
  try {
    const module: unknown = await Promise.race([import(Bun.pathToFileURL(path).href), late])
    return typeof module === "object" && module !== null && "default" in module ? module.default : undefined
  } catch (error) {
    throw explain(error, path)
  } finally {
    clearTimeout(timer)
  }
}

/** Turns what an import can throw into one failure with its place. */
function explain(error: unknown, path: string): Failure {
  if (isFailure(error)) return error
  const cause = error instanceof AggregateError ? error.errors[0] : error
  if (cause instanceof BuildMessage && cause.position) {
    const { file, line, column } = cause.position
    return bad(path, `${file}:${line}:${column}: ${cause.message}`, { cause: error })
  }
  if (cause instanceof ResolveMessage) {
    const hint = cause.specifier.includes("?") ? QUERY_HINT : undefined
    return bad(path, `${path}: ${cause.message}`, { hint, cause: error })
  }
  const unmet = missingExport(messageOf(error))
  if (unmet !== undefined) return unmet
  const hint = "run with --verbose for the stack"
  const words = `${path} failed while loading: ${messageOf(error)}`
  return bad(path, withPlace(error, words), { hint: placeOf(error) === undefined ? hint : undefined, cause: error })
}

function bad(path: string, message: string, detail: Pick<FailureDetail, "hint" | "cause"> = {}): Failure {
  return new Failure("BAD_PLUGIN", message, { ...detail, subject: path })
}
