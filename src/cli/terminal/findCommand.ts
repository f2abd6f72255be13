import { type Failure, usageError } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { type Command, load } from "./command.ts"
import { globalArgs } from "./globalArgs.ts"

/** A command, and how it was found. */
export interface Found {
  readonly command: Command
  /** The words that name it, from `banger` on. */
  readonly path: readonly string[]
  /** The other words. */
  readonly left: readonly string[]
}

/**
 * The command that words name, however deep in the tree; global options may stand before it. It does what citty's
 * `runCommand` does before a run, but that one gives back no exit status of a command below another, tells a command below
 * another no data, and finds `constructor` in every tree. Throws USAGE for a word that names none,
 * with the nearest command, or of `alsoKnown`.
 */
export async function findCommand(
  root: Command,
  words: readonly string[],
  alsoKnown: readonly string[] = [],
): Promise<Found> {
  const left = [...words]
  const path = [root.meta.name]
  for (let command = root; ; ) {
    const at = left.findIndex((word) => !GLOBAL.has(word))
    const word = left[at]
    if (command.subCommands === undefined || word === undefined || word.startsWith("-")) return { command, path, left }
    const below = Object.hasOwn(command.subCommands, word) ? command.subCommands[word] : undefined
    if (below === undefined) {
      // It has positionals of its own.
      if (command.run !== undefined) return { command, path, left }
      throw noSuchCommand(word, path, [...Object.keys(command.subCommands), ...(command === root ? alsoKnown : [])])
    }
    command = await load(below)
    path.push(word)
    left.splice(at, 1)
  }
}

// --- internal ---

const GLOBAL: ReadonlySet<string> = new Set([...Object.keys(globalArgs).map((name) => `--${name}`), "-h"])

function noSuchCommand(word: string, path: readonly string[], known: readonly string[]): Failure {
  const shown = known.filter((name) => !name.startsWith("__"))
  const near = nearest(word, shown)
  const hint = near !== undefined ? `did you mean ${near}?` : path.length === 1 ? "banger --help lists them" : undefined
  return usageError(path.length === 1 ? `there is no command ${word}` : `${path.join(" ")} has no command ${word}`, {
    hint: hint ?? `there are: ${shown.join(", ")}`,
    subject: word,
  })
}
