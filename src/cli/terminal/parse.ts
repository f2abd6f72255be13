import type { ArgDef, ArgsDef } from "citty"
import { usageError } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"

/** A command line taken apart. */
export interface Parsed {
  readonly values: Readonly<Record<string, string | boolean | undefined>>
  /** Positionals after the last that is defined. */
  readonly more: readonly string[]
  readonly rest: readonly string[]
}

/**
 * Parses a command's words by its definition: `--flag value`, `--flag=value`, `-f`, `--no-flag`, positionals; words
 * after `--` are left alone. `many` collects the positionals that are too many. Unlike citty's own parser it refuses what the definition does not have. Throws a usage
 * failure that names the word, and the nearest flag.
 */
export function parseWords(words: readonly string[], args: ArgsDef, many = false): Parsed {
  const cut = words.indexOf("--")
  const own = cut === -1 ? words : words.slice(0, cut)
  const values: Record<string, string | boolean | undefined> = {}
  const more: string[] = []
  const positionals = Object.entries(args).filter(([, def]) => def.type === "positional")
  const flags = Object.fromEntries(Object.entries(args).filter(([, def]) => def.type !== "positional"))

  for (let index = 0; index < own.length; index++) {
    const word = own[index] ?? ""
    if (!word.startsWith("-") || word === "-") {
      const next = positionals.shift()
      if (next !== undefined) values[next[0]] = word
      else if (many) more.push(word)
      else throw usageError(`unexpected argument ${word}`)
      continue
    }
    const { name, def, value } = readFlag(word, flags)
    if (values[name] !== undefined) throw usageError(`${word} is given twice`)
    if (def.type === "boolean") values[name] = value ?? true
    else values[name] = typeof value === "string" ? value : own[++index]
    if (def.type !== "boolean" && !values[name]) throw usageError(`${word} needs a value`)
    const options = def.type === "enum" ? (def.options ?? []) : undefined
    if (options && !options.includes(String(values[name])))
      throw usageError(`${word} takes one of: ${options.join(", ")}`)
  }
  const missing = positionals.find(([, def]) => def.required)
  if (missing !== undefined && values.help !== true) throw usageError(`${missing[0].toUpperCase()} is missing`)
  return { values, more, rest: cut === -1 ? [] : words.slice(cut + 1) }
}

// --- internal ---

interface Flag {
  readonly name: string
  readonly def: ArgDef
  /** What stood after `=`, or what `--no-` means. */
  readonly value: string | boolean | undefined
}

function readFlag(word: string, flags: ArgsDef): Flag {
  const [spelled = "", ...after] = word.split("=")
  const value = after.length === 0 ? undefined : after.join("=")
  const found = Object.entries(flags).find(([name, def]) => spellings(name, def).includes(spelled))
  if (found !== undefined) {
    const [name, def] = found
    if (def.type === "boolean" && value !== undefined) throw usageError(`${spelled} takes no value`)
    return { name, def, value }
  }
  const negated = Object.entries(flags).find(([name, def]) => def.type === "boolean" && spelled === `--no-${name}`)
  if (negated !== undefined) return { name: negated[0], def: negated[1], value: false }
  const near = nearest(
    spelled,
    Object.entries(flags).flatMap(([name, def]) => spellings(name, def)),
  )
  throw usageError(`unknown option ${spelled}`, near === undefined ? undefined : `did you mean ${near}?`)
}

function spellings(name: string, def: ArgDef): readonly string[] {
  const aliases = "alias" in def && def.alias !== undefined ? [def.alias].flat() : []
  return [`--${name}`, ...aliases.map((alias) => (alias.length === 1 ? `-${alias}` : `--${alias}`))]
}
