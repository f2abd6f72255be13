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

function longLists(text: string): readonly string[] {
  return signaturesOf(text)
    .filter(({ parameters }) => parameters.length > (isOptions(parameters[3] ?? "") ? 4 : 3))
    .map(({ line, name, parameters }) => `${line} ${name ?? "an arrow"} has ${parameters.length} parameters`)
}

test("functions have at most three positional parameters, and then one options object", () => {
  const long = ours.flatMap((path) => longLists(textOf(path)).map((what) => `${path}:${what}`))
  if (long.length === 0) return
  const advice = `Give what belongs together a type, or pass what is optional as one object, whose type or name ends in Options
or is one in braces.`
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
  FIRST_USER_PORT: "a port",
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

/** What a file exports that is there when the program runs: types are not. */
function valuesOf(text: string): readonly string[] {
  const exports = text.matchAll(/^export (?:async )?(?:function\*?|const|let|class) (\w+)/gm)
  return [...exports].map(([, name = ""]) => name)
}

/** What a text takes of other files, as `file name`, and of whole files, as `file *`. */
function takenBy(text: string): readonly string[] {
  const named = [...text.matchAll(/^(?:import|export) (?:type )?\{([^}]*)\} from "[^"]*?([\w.]+)"/gm)].flatMap(
    ([, names = "", file = ""]) =>
      [...names.matchAll(/(?:^|,)\s*(?:type )?(\w+)/g)].map(([, name]) => `${file} ${name}`),
  )
  const loaded = [...text.matchAll(/\{([^{}]*)\} = await import\("[^"]*?([\w.]+)"\)/g)].flatMap(
    ([, names = "", file = ""]) => [...names.matchAll(/(?:^|,)\s*(\w+)/g)].map(([, name]) => `${file} ${name}`),
  )
  const one = [...text.matchAll(/import\("[^"]*?([\w.]+)"\)\)+\.(\w+)/g)].map(([, file, name]) => `${file} ${name}`)
  const held = [...text.matchAll(/const (\w+) = [^{}\n]*await import\("[^"]*?([\w.]+)"\)/g)].flatMap(
    ([, module = "", file = ""]) =>
      [...text.matchAll(new RegExp(`\\b${module}\\??\\.(\\w+)`, "g"))].map(([, name]) => `${file} ${name}`),
  )
  const whole = [...text.matchAll(/import \* as \w+ from "[^"]*?([\w.]+)"/g)].map(([, file]) => `${file} *`)
  return [...named, ...loaded, ...one, ...held, ...whole]
}

test("what a file exports, another file imports", () => {
  const all = ["cli.ts", ...new Bun.Glob("{src,test,scripts,bench}/**/*.ts").scanSync(root)]
  const taken = new Set(all.flatMap((path) => takenBy(textOf(path))))
  const unused = sources.flatMap((path) => {
    const file = path.slice(path.lastIndexOf("/") + 1)
    const names = taken.has(`${file} *`) ? [] : valuesOf(textOf(path))
    return names.filter((name) => !taken.has(`${file} ${name}`)).map((name) => `${path}: ${name}`)
  })
  if (unused.length > 0) throw new Error(`${unused.join("\n")}\nNobody imports these: move them below, or delete them.`)
})

/** Exported values that the text uses itself, besides declaring them; what stands in a comment is no use. */
function usedAtHome(text: string): readonly string[] {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "")
  return valuesOf(text).filter((name) => (code.match(new RegExp(`\\b${name}\\b`, "g")) ?? []).length > 1)
}

/** What only tests can use: faults of system calls are put in there. */
const SEAMS = ["interpose"]

test("what the program itself never uses is no code of it", () => {
  const taken = new Set(sources.flatMap((path) => takenBy(textOf(path))))
  const unused = sources.flatMap((path) => {
    const file = path.slice(path.lastIndexOf("/") + 1)
    const text = textOf(path)
    const home = usedAtHome(text)
    // What is printed as JSON is held against its schema by tests.
    const names = valuesOf(text).filter(
      (name) => !name.endsWith("Schema") && !SEAMS.includes(name) && !home.includes(name),
    )
    return names
      .filter((name) => !taken.has(`${file} ${name}`) && !taken.has(`${file} *`))
      .map((name) => `${path}: ${name}`)
  })
  expect(unused).toEqual([])
})

test("a use at home is seen, in a comment it is none", () => {
  const text = "/** As `a`. */\nexport function a() {}\n// b\nexport const b = 1\nexport const c = 2\nconst d = [...c]"
  expect(usedAtHome(text)).toEqual(["c"])
})

test("an import is seen, in whatever way it is written", () => {
  const text = `import { a, type B, c as d } from "./x.ts"
export { e } from "../y.ts"
import {
  f,
  g,
} from "./z.ts"
const { h, i: j } = await import("./later.ts")
const k = (await import("./late.ts")).k
const held = wanted ? await import("./rare.ts") : undefined
await held?.m(held.n)
import * as all from "./w.ts"`
  const seen = [
    "x.ts a",
    "x.ts B",
    "x.ts c",
    "y.ts e",
    "z.ts f",
    "z.ts g",
    "later.ts h",
    "later.ts i",
    "late.ts k",
    "rare.ts m",
    "rare.ts n",
    "w.ts *",
  ]
  expect(takenBy(text)).toEqual(seen)
  expect(valuesOf("export const a = 1\nexport interface B {}\nexport async function c() {}")).toEqual(["a", "c"])
})
