import * as v from "valibot"
import { readTrusted, type Trust } from "./trust.ts"

/** A module's file as it was when its plugin was loaded: its bytes in base64. */
export const keptModulesSchema = v.record(v.string(), v.pipe(v.string(), v.base64()))

/** The modules of a plugin by their real paths. */
export type KeptModules = v.InferOutput<typeof keptModulesSchema>

let kept: KeptModules = {}

/**
 * From now on these modules are what their paths lead to, whatever is there by now: they were checked when they were loaded
 * first, and nobody else could write where they were kept.
 */
export function useKept(modules: KeptModules): void {
  kept = modules
}

/** A module's bytes: as they were kept, else as `readTrusted` reads them. */
export function readModule(realPath: string, trust: Trust): Uint8Array<ArrayBuffer> {
  const text = Object.hasOwn(kept, realPath) ? kept[realPath] : undefined
  return text === undefined ? readTrusted(realPath, trust) : new Uint8Array(Buffer.from(text, "base64"))
}
