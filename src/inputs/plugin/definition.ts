import type { Hooks, Plugin } from "banger"
import * as v from "valibot"
import { withParameters } from "../../base/linux/commandLine.ts"
import { Failure } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { networkEntries } from "../schema/network.ts"
import { DRIVE_KEYS, type Spec, specSchema } from "../schema/vm.ts"
import { lineOf } from "./lineOf.ts"

const hook = v.optional(v.custom<(...args: never) => unknown>((value) => typeof value === "function", "a function"))
const hookEntries = {
  configure: hook,
  preBoot: hook,
  postBoot: hook,
  preStop: hook,
  postStop: hook,
  sweepCandidate: hook,
}
const hooksSchema = v.strictObject(hookEntries)
const pluginSchema = v.strictObject({
  ...specSchema.entries,
  ...hookEntries,
  use: v.optional(v.array(hooksSchema, "a list of objects with hooks"), []),
})

/** What `banger sweep --plugin` takes: hooks, without a VM. */
const guardSchema = v.strictObject({ ...pluginSchema.entries, kernel: v.optional(specSchema.entries.kernel) })

/** When plugin code runs. */
export type HookName = keyof typeof hookEntries

/** A plugin file that was loaded: where it was, and what it exported. */
export interface Source {
  readonly path: string
  readonly text: string
}

/** A plugin taken apart: the spec as it was written, and the hooks in the order `pre…` hooks run. */
export interface Definition {
  readonly source: Source
  readonly spec: Readonly<Record<string, unknown>>
  readonly hooks: readonly Hooks[]
}

/** Checks what a plugin file exported as default. Throws a failure that names each field that is wrong. */
export function readDefinition(exported: unknown, source: Source): Definition {
  if (exported === undefined) {
    const hint = 'write: export default definePlugin({ kernel: "…" })'
    throw bad(source, `${source.path} has no default export`, hint)
  }
  check(pluginSchema, exported, source)
  return takenApart(exported, source)
}

/**
 * As `readDefinition`, for a plugin that need not describe a VM but must have a `sweepCandidate` hook; also its time limit
 * in milliseconds.
 */
export function readGuard(exported: unknown, source: Source): Definition & { readonly limit: number } {
  if (exported === undefined) {
    const hint = "write: export default definePlugin({ sweepCandidate(ctx) { … } })"
    throw bad(source, `${source.path} has no default export`, hint)
  }
  const { timeouts } = check(guardSchema, exported, source)
  const definition = takenApart(exported, source)
  if (definition.hooks.every(({ sweepCandidate }) => sweepCandidate === undefined)) {
    throw bad(source, `${source.path} has no sweepCandidate hook`, "banger sweep calls no other")
  }
  return { ...definition, limit: timeouts.sweepCandidate ?? timeouts.hook }
}

/** Whether a plugin has code that may still run. Pure. */
export function hasHooks({ hooks }: Definition): boolean {
  return hooks.some((each) => Object.values(each).some((value) => value !== undefined))
}

/** A spec with every default filled in, and one kernel command line. Throws a failure that names each field that is wrong. */
export function parseSpec(spec: unknown, source: Source): Spec {
  const { extraBootArgs = "", ...checked } = check(specSchema, spec, source)
  const extra = extraBootArgs.trim()
  return extra === "" ? checked : { ...checked, bootArgs: withParameters(checked.bootArgs, [extra]) }
}

// --- internal ---

function takenApart(exported: unknown, source: Source): Definition {
  const { use = [], configure, preBoot, postBoot, preStop, postStop, sweepCandidate, ...spec } = exported as Plugin
  const own = { configure, preBoot, postBoot, preStop, postStop, sweepCandidate } as Hooks
  return { source, spec: { ...spec }, hooks: [...use, own] }
}

function check<S extends v.GenericSchema>(schema: S, input: unknown, source: Source): v.InferOutput<S> {
  const result = v.safeParse(schema, input)
  if (result.success) return result.output
  throw bad(source, result.issues.map((issue) => describe(issue, input, source)).join("\n"))
}

function bad({ path }: Source, message: string, hint?: string): Failure {
  return new Failure("BAD_PLUGIN", message, { hint, subject: path })
}

/** `plugin.ts:7: vcpus is 0; allowed: a whole number from 1 to 32`. */
function describe(issue: v.BaseIssue<unknown>, input: unknown, source: Source): string {
  const keys = (issue.path ?? []).map((item) => item.key as string | number)
  const line = lineOf(source.text, keys)
  const where = line === undefined ? source.path : `${source.path}:${line}`
  const field = keys
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${key}`))
    .join("")
    .replace(/^\./, "")
  const last = issue.path?.at(-1)
  if (last !== undefined && issue.type === "strict_object" && issue.expected === "never") {
    const near = nearest(String(last.key), allowedKeys(keys))
    return `${where}: unknown key ${field}${near === undefined ? "" : `; did you mean ${near}?`}`
  }
  if (keys.length === 0)
    return `${where}: the default export is ${issue.received}, not a plugin; use definePlugin({ … })`
  const value = valueAt(input, keys)
  if (value === undefined) return `${where}: ${field} is missing`
  return `${where}: ${field} is ${brief(value)}; allowed: ${issue.message}`
}

/** The value that was written at a path; an issue may know only the transformed one. */
function valueAt(input: unknown, keys: readonly (string | number)[]): unknown {
  return keys.reduce<unknown>((value, key) => (value as Readonly<Record<string | number, unknown>>)[key], input)
}

function brief(value: unknown): string {
  const text = Bun.inspect(value, { depth: 1, compact: true })
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

/** The keys that an object at this path may have, for suggestions. */
function allowedKeys(path: readonly (string | number)[]): readonly string[] {
  const [first, second] = path
  if (path.length === 1) return Object.keys(pluginSchema.entries)
  if (first === "use") return Object.keys(hookEntries)
  if (first === "network") return Object.keys(networkEntries)
  const inner = specSchema.entries[first as keyof typeof specSchema.entries]
  if (first === "restart") return ["policy", "limit", "delay"]
  if (typeof second === "number" && first === "drives") return DRIVE_KEYS
  if ("wrapped" in inner && "entries" in inner.wrapped) return Object.keys(inner.wrapped.entries)
  return []
}
