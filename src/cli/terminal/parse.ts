import type { ArgDef, ArgsDef } from "citty"
import { type Failure, usageError } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { type OptionToken, tokensOf } from "./tokens.ts"

/** A command line taken apart. */
export interface Parsed {
  /** By name: what was given, or the default. */
  readonly values: Readonly<Record<string, string | boolean>>
  /** Positionals after the last that is defined. */
  readonly more: readonly string[]
  /** What stood after `--`. */
  readonly rest: readonly string[]
  /** The options that were given, a word each. */
  readonly options: readonly string[]
}

/** What a command takes beside its arguments, and what it does not take. */
export interface Takes {
  /** More of the last argument. */
  readonly takesMany?: boolean
  /** Words after `--`. */
  readonly takesRest?: boolean
  /** Options that other tools have and this command does not, as they are given, each with the reason and what to do instead. */
  readonly refuses?: Readonly<Record<string, { readonly words: string; readonly hint: string }>> | undefined
}

/**
 * Parses a command's words by citty's definition of its arguments: `--flag value`, `--flag=value`, `-f`, `--no-flag`,
 * positionals; words after `--` are left alone. `takesMany`: positionals beyond the defined ones. Throws USAGE for what the
 * definition does not have, a missing or needless value, and an option given twice: citty's own parser passes over them.
 */
export function parseWords(
  words: readonly string[],
  args: ArgsDef,
  { takesMany, takesRest, refuses = {} }: Takes = {},
): Parsed {
  const [own, rest] = cutAtDashes(words)
  const flags = Object.fromEntries(Object.entries(args).filter(([, def]) => def.type !== "positional"))
  const positionals = Object.entries(args).filter(([, def]) => def.type === "positional")
  const values: Record<string, string | boolean> = {}
  const [more, options]: [string[], string[]] = [[], []]

  for (const token of tokensOf(own, formsOf(flags))) {
    if (token.kind === "positional") {
      const next = positionals.shift()
      if (next !== undefined) values[next[0]] = token.value
      else if (takesMany === true) more.push(token.value)
      else {
        const hint = takesRest === true ? `words for the plugin stand after --: -- ${token.value}` : undefined
        throw usageError(`unexpected argument ${token.value}`, { subject: token.value, hint })
      }
      continue
    }
    const { name, value } = token
    const why = Object.hasOwn(refuses, token.rawName) ? refuses[token.rawName] : undefined
    if (why !== undefined)
      throw usageError(`${token.rawName}: ${why.words}`, { subject: token.rawName, hint: why.hint })
    values[name] = readOption(token, flags, values[name] !== undefined)
    options.push(value === undefined ? `--${values[name] ? "" : "no-"}${name}` : `--${name}=${value}`)
  }
  const missing = positionals.find(([, def]) => def.required)?.[0].toUpperCase()
  if (missing !== undefined && values.help !== true) throw usageError(`${missing} is missing`, { subject: missing })
  return { values: { ...defaultsOf(args), ...values }, more, rest, options }
}

/** Words before `--`, and those after it. */
export function cutAtDashes(words: readonly string[]): [own: readonly string[], rest: readonly string[]] {
  const cut = words.indexOf("--")
  return cut === -1 ? [words, []] : [words.slice(0, cut), words.slice(cut + 1)]
}

/** The one letter that stands for an option, if it has one. */
export function aliasOf(def: ArgDef): string | undefined {
  return "alias" in def && def.alias !== undefined ? [def.alias].flat()[0] : undefined
}

// --- internal ---

function formsOf(flags: ArgsDef): ReadonlyMap<string, { takesValue: boolean; short: string | undefined }> {
  return new Map(
    Object.entries(flags).map(([name, def]) => [name, { takesValue: def.type !== "boolean", short: aliasOf(def) }]),
  )
}

function readOption(
  { name, rawName, value, inlineValue }: OptionToken,
  flags: ArgsDef,
  given: boolean,
): string | boolean {
  const def = Object.hasOwn(flags, name) ? flags[name] : undefined
  const negated = rawName === `--no-${name}`
  if (def === undefined || (negated && def.type !== "boolean")) throw unknown(rawName, flags)
  if (given) throw usageError(`${rawName} is given twice`, { subject: rawName })
  if (def.type === "boolean") {
    if (value !== undefined) throw usageError(`${rawName} takes no value`, { subject: rawName })
    return !negated
  }
  if (value === undefined || value === "") throw usageError(`${rawName} needs a value`, { subject: rawName })
  // Most often the value was forgotten; a number below 0 is one.
  if (inlineValue === false && /^-(?!\d+$)./.test(value))
    throw usageError(`${rawName} needs a value`, {
      subject: rawName,
      hint: `if ${value} is meant: ${rawName}=${value}`,
    })
  const among = def.type === "enum" ? (def.options ?? [value]) : [value]
  if (!among.includes(value)) throw usageError(`${rawName} takes one of: ${among.join(", ")}`, { subject: rawName })
  return value
}

function unknown(spelled: string, flags: ArgsDef): Failure {
  const near = nearest(
    spelled,
    Object.keys(flags).map((name) => `--${name}`),
  )
  const hint = near === undefined ? undefined : `did you mean ${near}?`
  return usageError(`unknown option ${spelled}`, { subject: spelled, hint })
}

function defaultsOf(args: ArgsDef): Record<string, string | boolean> {
  return Object.fromEntries(
    Object.entries(args).flatMap(([name, def]) => (def.default === undefined ? [] : [[name, def.default]])),
  )
}
