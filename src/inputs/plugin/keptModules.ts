import { existsSync, realpathSync } from "node:fs"
import { resolve } from "node:path"
import * as v from "valibot"
import { readTrusted, type Trust } from "./trust.ts"

/** A plugin's modules as they were when it was loaded. */
export const keptModulesSchema = v.record(
  v.string(),
  v.strictObject({
    /** The file's bytes in base64. */
    bytes: v.pipe(v.string(), v.base64()),
    /** What the module imports of the others, by the words that it says it with: real paths. */
    imports: v.record(v.string(), v.string()),
  }),
)

/** The modules of a plugin by their real paths. */
export type KeptModules = v.InferOutput<typeof keptModulesSchema>

let kept: KeptModules = {}

/**
 * From now on these modules are what their paths lead to, whatever is there by now, or nothing: they were checked when they were
 * loaded first, and nobody else could write where they were kept.
 */
export function useKept(modules: KeptModules): void {
  kept = modules
}

/** Whether `useKept` was called with any. */
export function keepsModules(): boolean {
  return Object.keys(kept).length > 0
}

/** A module's bytes: as they were kept, else as `readTrusted` reads them. */
export function readModule(realPath: string, trust: Trust): Uint8Array<ArrayBuffer> {
  const text = of(kept, realPath)?.bytes
  return text === undefined ? readTrusted(realPath, trust) : new Uint8Array(Buffer.from(text, "base64"))
}

/**
 * A module's code as it is to be run: what a kept one imports of others that are gone by now it imports by their real paths. (Bun
 * asks nobody what a relative name without an extension means.)
 */
export function importingKept(realPath: string, code: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const gone = Object.entries(of(kept, realPath)?.imports ?? {}).filter(([, target]) => !existsSync(target))
  if (gone.length === 0) return code
  const text = gone.reduce((before, [word, target]) => {
    const quoted = RegExp.escape(word)
    return before.replaceAll(new RegExp(`\\b(from|import)(\\s*)(?:"${quoted}"|'${quoted}')`, "g"), (_, verb, space) =>
      [verb, space, JSON.stringify(target)].join(""),
    )
  }, new TextDecoder().decode(code))
  return new TextEncoder().encode(text)
}

/** The real path of a plugin's file, which may be gone if it was kept. Throws a system error where there is none. */
export function realPathOf(file: string): string {
  const path = resolve(file)
  return Object.hasOwn(kept, path) ? path : realpathSync(path)
}

/** The kept module that a kept one means by a word, or that the program does by a path or file: URL. */
export function keptImport(word: string, importer: string): string | undefined {
  const path = word.startsWith("file:") ? Bun.fileURLToPath(word) : word
  return Object.hasOwn(kept, path) ? path : of(of(kept, importer)?.imports ?? {}, word)
}

// --- internal ---

function of<T>(map: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(map, key) ? map[key] : undefined
}
