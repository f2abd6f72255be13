import type { Output } from "./output.ts"

/**
 * What a plugin prints must not make a VM wait for a reader. With --json standard output is for the result, and it goes
 * where messages go.
 */
export function takeConsole(output: Output, json: boolean): void {
  const { format } = process.getBuiltinModule("node:util")
  const out = (...words: unknown[]) => output.say(format(...words), json ? "err" : "out")
  const err = (...words: unknown[]) => output.say(format(...words), "err")
  Object.assign(console, { log: out, info: out, debug: out, warn: err, error: err })
}
