import type { ArgsDef } from "citty"

/** What a command's `run` is given. */
export interface Invocation {
  /** Values of flags and positionals by name: strings, booleans, or undefined when not given. */
  readonly values: Readonly<Record<string, string | boolean | undefined>>
  /** Words after the last positional, of a command that takes many. */
  readonly more: readonly string[]
  /** What stood after `--`. */
  readonly rest: readonly string[]
  readonly output: Output
  /** All commands, for those that tell of others. */
  readonly commands: readonly Command[]
}

/** Where a command's data and messages go. */
export interface Output {
  /** Data, to standard output: a line, or bytes as they are. False when nobody reads it any more. */
  print(data: string | Uint8Array): boolean
  /** Prints what standard output takes without waiting, and tells how many bytes that was. */
  printSome(data: Uint8Array): number
  /** Prints a line that may be lost where nobody reads: it waits only a moment and never throws. */
  say(text: string, where: "out" | "err"): void
  readonly log: {
    debug(message: string): void
    info(message: string): void
    warn(message: string): void
    error(message: string): void
  }
}

/** One subcommand: what it takes, and what it does. `run` returns the exit code. */
export interface Command {
  readonly meta: { readonly name: string; readonly description: string }
  readonly args: ArgsDef
  /** Whether it is given all commands, which are loaded for it. */
  readonly takesCommands?: boolean
  /** Whether words after `--` mean something to it. */
  readonly takesRest?: boolean
  /** Whether its last positional may be given several times. */
  readonly takesMany?: boolean
  run(invocation: Invocation): number | Promise<number>
}

/** The value of a string flag or positional. */
export function text(values: Invocation["values"], name: string): string | undefined {
  const value = values[name]
  return typeof value === "string" ? value : undefined
}

/** The VMs that a command with the positional `vm` was given. */
export function vmsOf({ values, more }: Pick<Invocation, "values" | "more">): readonly string[] {
  return [...new Set([text(values, "vm") ?? "", ...more])]
}

/** The positional of a command on one VM. */
export const vmArg = {
  type: "positional",
  required: true,
  description: "Name, id, or the beginning of an id",
} as const
