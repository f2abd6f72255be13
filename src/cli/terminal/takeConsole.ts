import type { Output } from "./output.ts"

/**
 * What a plugin prints must not make a VM wait for a reader. Where standard output is `reserved` for the result, it goes where
 * messages go.
 */
export function takeConsole(output: Output, reserved: boolean): void {
  const builtin = process.getBuiltinModule
  // Loaded when something is printed.
  const format = (...words: unknown[]) => builtin("node:util").format(...words)
  const out = (...words: unknown[]) => output.say(format(...words), reserved ? "err" : "out")
  const err = (...words: unknown[]) => output.say(format(...words), "err")
  Object.assign(console, { log: out, info: out, debug: out, warn: err, error: err })
  // Bun makes the stream for this, which takes more than a millisecond.
  if (reserved && !output.captures)
    Object.defineProperty(process, "stdout", { configurable: true, get: () => process.stderr })
}
