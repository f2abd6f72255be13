import { expect, test } from "bun:test"
import { readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { RUNTIME_TYPES } from "../../../src/inputs/starter/runtimeTypes.ts"
import { PROGRAM } from "../../program.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const tsc = join(import.meta.dir, "../../../node_modules/.bin/tsc")

/**
 * What is wrong of a plugin, the words that tsc says of it, and what it says it of: a part of the plugin's text, at whose line and
 * column the error stands.
 */
const WRONG: readonly (readonly [fields: string, code: number, words: string, at: string])[] = [
  [
    'kernel: "k", memroy: "1G"',
    2561,
    "'memroy' does not exist in type 'Plugin'. Did you mean to write 'memory'",
    "memroy",
  ],
  ['kernel: "k", vcpu: 2', 2561, "Did you mean to write 'vcpus'", "vcpu"],
  ['kernel: "k", disks: []', 2353, "'disks' does not exist in type 'Plugin'", "disks"],
  ['kernel: "k", drives: [{ pth: "x" }]', 2561, "Did you mean to write 'path'", "pth"],
  ['kernel: "k", drives: [{ path: "x", readOnly: true }]', 2561, "Did you mean to write 'readonly'", "readOnly"],
  ['kernel: "k", drives: { path: "x" }', 2353, "'path' does not exist in type", "path"],
  ['kernel: "k", drives: [{ path: "x", format: "vmdk" }]', 2322, `Type '"vmdk"' is not assignable to type`, "format"],
  ['kernel: "k", network: { prots: [] }', 2561, "Did you mean to write 'ports'", "prots"],
  ['kernel: "k", network: "tap"', 2322, `Type '"tap"' is not assignable to type`, "network"],
  ['kernel: "k", network: { ports: "80:80" }', 2322, "Type 'string' is not assignable to type 'string[]'", "ports"],
  ["kernel: 5", 2322, "Type 'number' is not assignable to type 'string'", "kernel"],
  [
    'memory: "1G"',
    2345,
    "Property 'kernel' is missing in type '{ memory: string; }' but required in type 'Plugin'",
    "{ memory",
  ],
  ['kernel: "k", memory: 512', 2322, "Type 'number' is not assignable to type 'string'", "memory"],
  ['kernel: "k", vcpus: "2"', 2322, "Type 'string' is not assignable to type 'number'", "vcpus"],
  ['kernel: "k", vmm: "qemu-kvm"', 2322, `Type '"qemu-kvm"' is not assignable to type`, "vmm"],
  ['kernel: "k", timeouts: { stop: 30 }', 2322, "Type 'number' is not assignable to type 'string'", "stop"],
  ['kernel: "k", timeouts: { boot: "30s" }', 2353, "'boot' does not exist in type 'Timeouts'", "boot"],
  ['kernel: "k", restart: "allways"', 2820, `Did you mean '"always"'?`, "restart"],
  ['kernel: "k", jail: { user: 5 }', 2353, "'user' does not exist in type", "user"],
  ['kernel: "k", limits: { mem: "1G" }', 2353, "'mem' does not exist in type 'Limits'", "mem"],
  ['kernel: "k", preboot() {}', 2561, "Did you mean to write 'preBoot'", "preboot"],
  ['kernel: "k", preBoot(ctx) { ctx.exit }', 2339, "Property 'exit' does not exist on type 'PreBootContext'", "exit"],
  ['kernel: "k", postStop(ctx) { ctx.exit.reasn }', 2551, "Did you mean 'reason'?", "reasn"],
  ['kernel: "k", use: [{ onBoot() {} }]', 2353, "'onBoot' does not exist in type 'Hooks'", "onBoot"],
  ["sweepCandidate: () => true", 2322, "Type 'boolean' is not assignable to type", "sweepCandidate"],
]

test("an editor names what is wrong of a plugin, where it stands, and what was meant", () => {
  init("right.ts")
  const head = 'import { definePlugin } from "banger"\nexport default definePlugin({\n  '
  for (const [index, [fields]] of WRONG.entries()) write(`wrong${index}.ts`, `${head}${fields},\n})\n`)
  const text = check()
  const told = WRONG.map(([fields, code, words, at], index) => {
    const [own = ""] = text.slice(text.indexOf(`wrong${index}.ts(`)).split(/\n(?=\w+\.ts)/)
    const [, line, column] = /\((\d+),(\d+)\)/.exec(own) ?? []
    const brace = at.startsWith("{")
    const place = brace ? [2, "export default definePlugin({".length] : [3, 3 + fields.indexOf(at)]
    return {
      fields,
      right: own.includes(`error TS${code}: `) && own.includes(words),
      at: [line, column].join(),
      place: place.join(),
      own,
    }
  })
  expect(told.filter(({ right, at, place }) => !right || at !== place)).toEqual([])
  expect(text).not.toContain("right.ts")
}, 60_000)

/** What plugins use of Node and Bun, one a line. */
const USED = [
  'import { join } from "node:path"',
  'import { readFileSync } from "fs"',
  'import { copyFile } from "node:fs/promises"',
  'import { execFileSync } from "node:child_process"',
  'import { Database } from "bun:sqlite"',
  "export const place: string = join(import.meta.dir, import.meta.url, process.env.HOME ?? '')",
  "export const bytes: Buffer = Buffer.concat([readFileSync('/x'), execFileSync('id')])",
  "export const rows: unknown[] = new Database(':memory:').query('select 1').all()",
  "export const status: number = (await fetch('https://x', { signal: AbortSignal.timeout(1) })).status",
  "await Bun.write('/x', await Bun.file('/y').bytes())",
  "await Bun.$`ls`.text()",
  "export const exited: Promise<number> = Bun.spawn(['x'], { stdout: 'pipe' }).exited",
  "export const timer: NodeJS.Timeout = setTimeout(() => copyFile('a', 'b'), 1)",
  "export const url: string = new URL('/x', 'http://y').href + structuredClone('x') + crypto.randomUUID()",
]

test("the types of Node and Bun come along: what is right is taken, and what is wrong is seen", () => {
  init("plugin.ts")
  write("used.ts", USED.join("\n"))
  expect(check()).toBe("")
  const [wrong, where] = [["Bun.write(5)", "readFileSync({})", "import.meta.dri", "process.pdi"], "wrong.ts"]
  write(where, `import { readFileSync } from "node:fs"\n${wrong.join("\n")}\n`)
  const lines = check()
    .split("\n")
    .filter((line) => line.startsWith("wrong.ts("))
  expect(lines.map((line) => Number(/\((\d+),/.exec(line)?.[1]))).toEqual([2, 3, 4, 5])
}, 60_000)

test("types are made anew by themselves, and nothing else changes", () => {
  init("plugin.ts")
  for (const name of ["plugin.ts", "tsconfig.json"]) write(name, "// mine\n")
  const [declarations, runtime] = ["banger.d.ts", RUNTIME_TYPES].map((name) => join(directory.path, name))
  const before = [readFileSync(declarations ?? ""), readFileSync(runtime ?? "")]
  writeFileSync(declarations ?? "", `${String(before[0]).split("\n")[0]}\n// of an older banger\n`)
  rmSync(runtime ?? "")
  expect(init("--types")).toBe(0)
  expect([readFileSync(declarations ?? ""), readFileSync(runtime ?? "")]).toEqual(before)
  for (const name of ["plugin.ts", "tsconfig.json"])
    expect(readFileSync(join(directory.path, name), "utf8")).toBe("// mine\n")
  rmSync(join(directory.path, ".banger"), { recursive: true })
  symlinkSync("/nonexistent", join(directory.path, ".banger"))
  expect(init("--types")).toBe(1)
})

test("each package of types comes with its licence", () => {
  init("plugin.ts")
  const packages = [
    ...new Bun.Glob(".banger/node_modules/**/package.json").scanSync({ cwd: directory.path, dot: true }),
  ]
  expect(packages.length).toBe(3)
  for (const path of packages)
    expect(JSON.parse(readFileSync(join(directory.path, path), "utf8"))).toMatchObject({ license: "MIT" })
})

function init(...words: readonly string[]): number {
  return Bun.spawnSync([...PROGRAM, "init", ...words], { cwd: directory.path }).exitCode
}

function write(name: string, text: string): void {
  writeFileSync(join(directory.path, name), text)
}

function check(): string {
  return Bun.spawnSync([tsc, "-p", directory.path], { cwd: directory.path }).stdout.toString()
}
