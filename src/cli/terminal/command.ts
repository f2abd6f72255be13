import type { ArgDef, ArgsDef, CommandDef } from "citty"
import type { Failure } from "../../base/terms/failure.ts"
import { globalArgs } from "./globalArgs.ts"
import type { Output } from "./output.ts"
import type { Takes } from "./parse.ts"

/** A command of the tree, as citty defines one, and what more there is to know before it runs. */
export interface Command extends CommandDef {
  readonly meta: { readonly name: string; readonly description: string; readonly hidden?: boolean }
  /** Its own and the global ones. */
  readonly args: ArgsDef
  /** The commands below it, by the word that names each. */
  readonly subCommands?: Readonly<Record<string, Command | (() => Promise<Command>)>>
  /** Whether its last positional may be given several times. */
  readonly takesMany?: boolean
  /** Options of other tools that it does not have, and why. */
  readonly refuses?: Takes["refuses"]
  /** Whether words after `--` mean something to it. */
  readonly takesRest?: boolean
}

/** What a command's `run` is given besides the values of its `args`. */
export interface Invocation {
  /** Positionals after the last one in `args`. */
  readonly more: readonly string[]
  /** What stood after `--`. */
  readonly rest: readonly string[]
  /** The words that name the command, from `banger` on. */
  readonly path: readonly string[]
  /** The options that were given, a word each: they tell another banger the same. */
  readonly options: readonly string[]
  readonly output: Output
  /** The whole tree, for commands that tell of others. */
  readonly root: Command
}

/** The values of a command's `args`. What was not given and has no default is undefined. */
export type Values<T extends ArgsDef> = { readonly [K in keyof T]: Value<T[K]> }

/**
 * Defines a command; one without `run` only has others below it. A failure that `run` returns, rather than
 * throws, was told in words already: only --json prints it, as the last line. The exit status follows from its code.
 */
export function command<const T extends ArgsDef>({ run, ...definition }: Definition<T>): Command {
  // Twice: an option of its own that has a global one's name stays among its own, with its own description.
  const args: ArgsDef = { ...definition.args, ...globalArgs, ...definition.args }
  // The values were parsed by these very args.
  const work: Command["run"] = run && ((context) => run(context.args as never, context.data))
  return { ...definition, args, ...(work && { run: work }) }
}

/** Every command right below this one that is not hidden, loaded. */
export async function commandsBelow({ subCommands = {} }: Command): Promise<readonly Command[]> {
  const loaded = await Promise.all(Object.values(subCommands).map(load))
  return loaded.filter(({ meta }) => meta.hidden !== true)
}

/** A command of `subCommands`, which may not have been loaded yet. */
export function load(sub: Command | (() => Promise<Command>)): Command | Promise<Command> {
  return typeof sub === "function" ? sub() : sub
}

/** The positional of a command on one VM. */
export const vmArg = {
  type: "positional",
  required: true,
  description: "Name, id, or the beginning of an id",
} as const

// --- internal ---

type Ended = Failure | undefined

type Definition<T extends ArgsDef> = Omit<Command, "args" | "run"> & {
  readonly args: T
  readonly run?: (values: Values<T & typeof globalArgs>, invocation: Invocation) => Ended | Promise<Ended>
}

type Value<D extends ArgDef> = D extends { type: "boolean" }
  ? boolean | undefined
  : D extends { required: true } | { default: string }
    ? Word<D>
    : Word<D> | undefined

type Word<D extends ArgDef> = D extends { type: "enum"; options: (infer O)[] } ? O : string
