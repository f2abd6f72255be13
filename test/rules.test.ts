import { expect, test } from "bun:test"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { isOptions, signaturesOf } from "./parameters.ts"

// What a type checker and a linter do not hold: shapes of functions, names of constants, paths written as text.

const root = join(import.meta.dir, "..")
const textOf = (path: string) => readFileSync(join(root, path), "utf8")
const sources = ["cli.ts", ...new Bun.Glob("src/**/*.ts").scanSync(root)]
  .filter((path) => !path.endsWith(".d.ts"))
  .sort()
/** Mirrors system calls: their arguments and numbers are the kernel's. */
const ours = sources.filter((path) => !path.startsWith("src/base/linux/"))

/** How many functions may have more than three positional parameters and an options object. It may only fall. */
const LONG_LISTS_MAX_COUNT = 11

function longLists(text: string): readonly string[] {
  return signaturesOf(text)
    .filter(({ parameters }) => parameters.length > (isOptions(parameters[3] ?? "") ? 4 : 3))
    .map(({ line, name, parameters }) => `${line} ${name ?? "an arrow"} has ${parameters.length} parameters`)
}

test("functions have at most three positional parameters, and then one options object", () => {
  const long = ours.flatMap((path) => longLists(textOf(path)).map((what) => `${path}:${what}`))
  if (long.length <= LONG_LISTS_MAX_COUNT) return
  const advice = `${long.length} functions have more, and ${LONG_LISTS_MAX_COUNT} may. Give what belongs together a type, or
pass what is optional as one object, whose type or name ends in Options or is one in braces.`
  throw new Error(`${long.join("\n")}\n${advice}`)
})

test("a long list of parameters is seen, a call or a comment is not", () => {
  for (const text of [
    "function f(a: number, b: string, c: Map<string, number>, d: boolean): void {}",
    "export async function f<T>(\n  a: T,\n  { b, c }: { b: number; c: string },\n  [d]: readonly [number],\n  e = 5,\n): Promise<T> {}",
    "const f = (a: number, b: number, c: number, d: (x: number, y: number) => void) => {}",
    "const f = (a, b, c, d) => a",
    "interface I {\n  f(a: number, b: number, c: number, d: number): void\n}",
    "type F = (a: number, b: number, c: number, d: number) => void",
    "function f(a: A, b: B, c: C, options: Options, e: E) {}",
    'const text = "(" // (\nfunction f(a: string /* , */, b: RegExp, c: "(", d: number) {}',
  ])
    expect(longLists(text), text).toHaveLength(1)
  for (const text of [
    "f(a, b, c, d)",
    "f(a ? b : c, d, e, g)",
    "f({ a: 1 }, b, c, d)",
    "// function f(a: A, b: B, c: C, d: D) {}",
    "function f(a: A, b: B, c: C, { d, e }: { d: D; e: E } = {}) {}",
    "function f(a: A, b: B, c: C, options?: StartOptions) {}",
    "function f(a: Map<A, B>, b: [C, D], c: (e: E, f: F) => void) {}",
    "if (a && b) f((a, b, c) => a)",
  ])
    expect(longLists(text), text).toEqual([])
})

/** Units, and what counts as one. */
const UNIT = /_(?:MS|S|US|BYTES|COUNT|BITS|UID)$/
/** Numbers that are the kernel's, not ours. */
const KERNEL = /^(?:SIG[A-Z0-9]+|SEEK_[A-Z]+|CAP_[A-Z_]+|O_[A-Z]+|PT_[A-Z]+|PID_MAX|STDIN|STDOUT|STDERR)$/
/** Numbers that measure nothing, each with what it is. */
const NAMES_OF_THINGS: Readonly<Record<string, string>> = {
  NOBODY: "a uid",
  CTRL_C: "a key",
  SLASH: "a byte of a path",
  SCHEMA: "a version",
  MARK: "a link group",
  UNKNOWN_TYPE: "a type of directory entries",
}

function unitless(text: string): readonly string[] {
  const constants = text.matchAll(
    /^(?:export )?const ([A-Z][A-Z0-9_]*)(?:: number)? = \(?-?\d[\w.]*(?: [*+-/<|]+ |\n|$)/gm,
  )
  const names = [...constants].map(([, name = ""]) => name)
  return names.filter((name) => !UNIT.test(name) && !KERNEL.test(name) && !(name in NAMES_OF_THINGS))
}

test("a constant that is a number says its unit", () => {
  const wrong = ours.flatMap((path) => unitless(textOf(path)).map((name) => `${path}: ${name}`))
  if (wrong.length === 0) return
  const advice =
    "End the name with its unit (_MS, _BYTES, _COUNT …); one that measures nothing goes into NAMES_OF_THINGS."
  throw new Error(`${wrong.join("\n")}\n${advice}`)
})

test("a constant without a unit is seen, and every exemption is used", () => {
  for (const text of [
    "const PATIENCE = 5000\n",
    "export const LIMIT = 64 * 1024\n",
    "const A = 1 << 22\n",
    "const B: number = -1\n",
  ])
    expect(unitless(text), text).toHaveLength(1)
  for (const text of ["const WAIT_MS = 5\n", "const SIGTERM = 15\n", 'const TEXT = "5"\n', "const LIST = [5]\n"])
    expect(unitless(text), text).toEqual([])
  const all = ours.map(textOf).join("\n")
  for (const name of Object.keys(NAMES_OF_THINGS)) expect(all).toMatch(new RegExp(`^(?:export )?const ${name} = `, "m"))
})

/** The modules of threads that a file starts. */
function workersOf(path: string): readonly string[] {
  return [...textOf(path).matchAll(/new (?:Thread|Worker)\(entryUrl\("([^"]+)"\)\)/g)].map(([, worker = ""]) => worker)
}

test("each thread's module is where its starter says, and the binary is compiled with it", () => {
  const { entrypoints } = /entrypoints: \[(?<entrypoints>[^\]]*)\]/.exec(textOf("scripts/compile.ts"))?.groups ?? {}
  const compiled = [...(entrypoints ?? "").matchAll(/"([^"]+)"/g)].map(([, path = ""]) => path)
  const workers = sources.flatMap(workersOf)
  // test/double/workers tries that they start.
  for (const worker of workers) expect(existsSync(join(root, worker)), worker).toBe(true)
  expect(compiled.toSorted()).toEqual(["cli.ts", ...workers].toSorted())
  // One that is started in another way would be missed.
  const starters = sources.filter((path) => /new (?:Thread|Worker)\(/.test(textOf(path)))
  expect(starters).toEqual(sources.filter((path) => workersOf(path).length > 0))
  expect(workers.length).toBeGreaterThan(1)
})
