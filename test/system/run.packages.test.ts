import { beforeAll, expect, test } from "bun:test"
import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { banger, type Ended } from "./support/banger.ts"
import { eachInItsPlace } from "./support/place.ts"

// The compiled binary loads packages from the node_modules of a plugin: those of its lock file as npm has them, and made ones.

const root = join(import.meta.dir, "../..")
const installed = join(root, "dist/test-packages")

beforeAll(() => {
  const [from, names] = [join(root, "test/fixtures/packages"), ["package.json", "bun.lock"]]
  const same = names.every((name) => textOf(join(installed, name)) === textOf(join(from, name)))
  if (same && textOf(join(installed, "node_modules/zod/package.json")) !== "") return
  mkdirSync(installed, { recursive: true })
  for (const name of names) cpSync(join(from, name), join(installed, name))
  const install = Bun.spawnSync([process.execPath, "install", "--frozen-lockfile", "--silent"], { cwd: installed })
  expect({ said: install.stderr.toString(), exit: install.exitCode }).toEqual({ said: "", exit: 0 })
}, 120_000)

const place = eachInItsPlace()

/** What each package is used for, as its makers show it: how it is imported, and what it then says. */
const USES: Readonly<Record<string, readonly [imports: string, expression: string, value: unknown]>> = {
  "@sindresorhus/slugify": ['import slug from "@sindresorhus/slugify"', 'slug("I ♥ Dogs")', "i-love-dogs"],
  ajv: ['import { Ajv } from "ajv"', 'new Ajv().validate({ type: "integer" }, 1)', true],
  axios: ['import axios from "axios"', 'axios.getUri({ url: "/a", params: { b: 1 } })', "/a?b=1"],
  chalk: ['import { Chalk } from "chalk"', 'new Chalk({ level: 1 }).red("x")', "\u001b[31mx\u001b[39m"],
  commander: [
    'import { Command } from "commander"',
    'new Command().option("-p <n>").parse(["-p", "5"], { from: "user" }).opts()',
    { p: "5" },
  ],
  "cross-spawn": ['import spawn from "cross-spawn"', 'spawn.sync("echo", ["x"]).stdout.toString()', "x\n"],
  "date-fns": ['import { addDays } from "date-fns"', "addDays(new Date(0), 1).getTime()", 86_400_000],
  debug: ['import debug from "debug"', 'debug("a").extend("b").namespace', "a:b"],
  deepmerge: ['import merge from "deepmerge"', "merge({ a: 1 }, { b: 2 })", { a: 1, b: 2 }],
  dotenv: ['import dotenv from "dotenv"', 'dotenv.parse("A=1")', { A: "1" }],
  ejs: ['import ejs from "ejs"', 'ejs.render("<%= 1 + 1 %>")', "2"],
  eventemitter3: ['import { EventEmitter } from "eventemitter3"', "new EventEmitter().listenerCount('x')", 0],
  execa: ['import { execa } from "execa"', "(await execa`echo x`).stdout", "x"],
  "fast-glob": ['import glob from "fast-glob"', 'await glob("*.lock", { cwd: import.meta.dir })', ["bun.lock"]],
  "fs-extra": ['import fs from "fs-extra"', 'await fs.pathExists("/etc/passwd")', true],
  glob: ['import { glob } from "glob"', 'await glob("*.lock", { cwd: import.meta.dir })', ["bun.lock"]],
  handlebars: ['import Handlebars from "handlebars"', 'Handlebars.compile("a{{b}}")({ b: 1 })', "a1"],
  ini: ['import { parse } from "ini"', 'parse("a=1").a', "1"],
  "js-yaml": ['import { load } from "js-yaml"', 'load("a: [1]")', { a: [1] }],
  lodash: ['import _, { chunk } from "lodash"', "[chunk([1, 2], 1), _.VERSION.length > 0]", [[[1], [2]], true]],
  "lodash-es": ['import { chunk } from "lodash-es"', "chunk([1, 2], 1)", [[1], [2]]],
  minimatch: ['import { minimatch } from "minimatch"', 'minimatch("a.js", "*.js")', true],
  minimist: ['import minimist from "minimist"', 'minimist(["-a", "1"]).a', 1],
  mkdirp: ['import { mkdirp } from "mkdirp"', "(await mkdirp('/tmp')) ?? 'there'", "there"],
  ms: ['import ms from "ms"', 'ms("1m")', 60_000],
  nanoid: ['import { nanoid } from "nanoid"', "nanoid(8).length", 8],
  "p-limit": ['import limit from "p-limit"', "await limit(1)(() => 5)", 5],
  picocolors: ['import pc from "picocolors"', "pc.createColors(true).red('x')", "\u001b[31mx\u001b[39m"],
  "readable-stream": ['import { Readable } from "readable-stream"', "await Readable.from([1, 2]).toArray()", [1, 2]],
  rxjs: ['import { of, lastValueFrom } from "rxjs"', "await lastValueFrom(of(1, 2))", 2],
  semver: ['import semver from "semver"', 'semver.gt("2.0.0", "1.0.0")', true],
  tar: ['import { list } from "tar"', "typeof list", "function"],
  uuid: ['import { v4, validate } from "uuid"', "validate(v4())", true],
  yaml: ['import { parse } from "yaml"', 'parse("a: [1]")', { a: [1] }],
  zod: ['import { z } from "zod"', 'z.string().parse("x")', "x"],
}

test("every package of the lock file is used", () => {
  const { dependencies } = JSON.parse(textOf(join(root, "test/fixtures/packages/package.json")))
  expect(Object.keys(USES)).toEqual(Object.keys(dependencies).sort())
  expect(Object.keys(USES).length).toBeGreaterThanOrEqual(30)
})

test.each(Object.entries(USES))(
  "a plugin uses %s",
  async (_, [imports, expression, value]) => {
    const dir = join(place.dir, "plugin")
    mkdirSync(dir)
    symlinkSync(join(installed, "node_modules"), join(dir, "node_modules"))
    cpSync(join(installed, "bun.lock"), join(dir, "bun.lock"))
    const { stderr, exit } = await planOf(join(dir, "plugin.ts"), imports, expression)
    expect({ said: answerOf(stderr), exit }).toEqual({ said: value, exit: 0 })
  },
  30_000,
)

/** Files of packages below the plugin's directory; what stands in them is what their makers could have written. */
const FILES: Readonly<Record<string, string>> = {
  "node_modules/conditions/package.json": JSON.stringify({
    exports: {
      ".": { browser: "./browser.js", import: { types: "./x.d.ts", node: "./node.mjs" }, require: "./index.cjs" },
      "./features/*.js": "./src/*.js",
      "./features/private/*": null,
      "./either": ["./none.js", "./src/a.js"],
      "./outside": "./../../secret.js",
    },
    name: "conditions",
    imports: { "#inner": "./src/a.js", "#other": "nested" },
  }),
  "node_modules/conditions/node.mjs":
    'import { inner } from "#inner"\nimport { who } from "#other"\nimport { inner as self } from "conditions/features/a.js"\nexport const said = [inner, who, self]',
  "node_modules/conditions/index.cjs": 'exports.said = "required"',
  "node_modules/conditions/browser.js": 'throw new Error("the browser\'s")',
  "node_modules/conditions/src/a.js": 'export const inner = "a"',
  "node_modules/conditions/node_modules/nested/package.json": '{ "main": "lib" }',
  "node_modules/conditions/node_modules/nested/lib/index.js": 'exports.who = "nested"',
  "node_modules/nested/package.json": '{ "main": "./main" }',
  "node_modules/nested/main.js": 'module.exports = { who: "outer", file: __filename, json: require("./data.json") }',
  "node_modules/nested/data.json": '{ "n": 1 }',
  "node_modules/circle/index.js":
    'exports.early = 1\nconst { b } = require("./b")\nexports.seen = b\nexports.same = require("./b") === require("circle/b.js")',
  "node_modules/circle/b.js": "exports.b = require('.').early",
  "node_modules/translated/index.js":
    'Object.defineProperty(exports, "__esModule", { value: true })\nexports.default = "d"\nexports.x = 1\nexports.load = () => import("nested")',
  "node_modules/texts/index.mjs":
    "import { who } from 'nested'\n// import { who } from 'nested'\nexport const text = \"import { who } from 'nested'\"\nexport const more = `\nimport { who } from 'nested'\n`\nexport { who }",
  "node_modules/sloppy/index.js": "module.exports = (function () { return this === globalThis })() && 010",
  "node_modules/asks/index.js":
    'try { require("not-there") } catch (error) { exports.code = error.code }\nexports.where = require.resolve("nested")',
  "node_modules/throws/index.js": "\n\nmodule.exports = () => {\n  throw new Error('of a package')\n}",
  "secret.js": "export default 1",
}

test.each<[name: string, imports: string, expression: string, value: unknown]>([
  [
    "conditions, an import of its own, a package of its own",
    'import { said } from "conditions"',
    "said",
    ["a", "nested", "a"],
  ],
  ["what require takes", 'const { said } = require("conditions")', "said", "required"],
  ["a pattern", 'import { inner } from "conditions/features/a.js"', "inner", "a"],
  ["the first of a list that is there", 'import { inner } from "conditions/either"', "inner", "a"],
  [
    "main, and __filename",
    'import n from "nested"',
    "[n.who, n.file.endsWith('/nested/main.js'), n.json]",
    ["outer", true, { n: 1 }],
  ],
  ["a circle", 'import circle from "circle"', "circle", { early: 1, seen: 1, same: true }],
  [
    "what a translator made",
    'import d, { x, load } from "translated"',
    "[d, x, (await load()).who]",
    ["d", 1, "outer"],
  ],
  [
    "texts that look like imports",
    'import { text, more, who } from "texts"',
    "[text, more, who]",
    ["import { who } from 'nested'", "\nimport { who } from 'nested'\n", "outer"],
  ],
  ["sloppy code", 'import eight from "sloppy"', "eight", 8],
  [
    "a missing package that is asked for",
    'import asks from "asks"',
    "[asks.code, asks.where.endsWith('/nested/main.js')]",
    ["MODULE_NOT_FOUND", true],
  ],
  ["a package that a hook names", "", '(await import("nested")).who', "outer"],
])("a plugin imports %s", async (_, imports, expression, value) => {
  writeAll()
  const { stderr, exit } = await planOf(join(place.dir, "plugin", "plugin.ts"), imports, expression)
  expect({ said: answerOf(stderr), exit }).toEqual({ said: value, exit: 0 })
})

test.each([
  [
    'import "nothing-such"',
    /plugin\.ts:1:9: there is no package nothing-such in node_modules here[\s\S]*npm install nothing-such/,
  ],
  [
    'import x from "@scope/none/sub"',
    /plugin\.ts:1:16: there is no package @scope\/none in[\s\S]*npm install @scope\/none/,
  ],
  ['import x from "@/lib/x"', /plugin\.ts:1:16: there is no @\/lib\/x[\s\S]*banger reads no tsconfig\.json/],
  [
    'import "conditions/features/private/x"',
    /the package \S+\/conditions has no file for "conditions\/features\/private\/x"/,
  ],
  ['import "conditions/outside"', /the package \S+\/conditions has no file for "conditions\/outside"/],
  ['import "./none"', /plugin\.ts:1:9: there is no \.\/none/],
])("%s: what is missing is named, with its place", async (imports, words) => {
  writeAll()
  const { stderr, exit } = await planOf(join(place.dir, "plugin", "plugin.ts"), imports, "1")
  expect(stderr).toMatch(words)
  expect(exit).toBe(2)
})

test("root trusts a package.json no more than a module", async () => {
  writeAll()
  chmodSync(join(place.dir, "plugin/node_modules/nested/package.json"), 0o666)
  const { stderr, exit } = await planOf(join(place.dir, "plugin", "plugin.ts"), 'import "nested"', "1")
  expect(stderr).toContain("nested/package.json can be written by others; not loaded as root")
  expect(exit).toBe(1)
})

test.each(["nested/data.json", "nested/main.js"])(
  "root refuses %s that others can write, where require names it",
  async (name) => {
    writeAll()
    chmodSync(join(place.dir, "plugin/node_modules", name), 0o666)
    const { stderr, exit } = await planOf(
      join(place.dir, "plugin", "plugin.ts"),
      'const n = require("nested")',
      "n.who",
    )
    expect(stderr).toContain(`${name} can be written by others; not loaded as root`)
    expect(exit).toBe(1)
  },
)

test("a linked package is where its link leads, and others are looked for from there", async () => {
  writeAll()
  const store = join(place.dir, "plugin/store")
  for (const [name, text] of [
    ["linked/index.js", 'exports.who = require("beside")'],
    ["beside/index.js", 'module.exports = "beside it"'],
  ] as const) {
    mkdirSync(join(store, "node_modules", dirname(name)), { recursive: true })
    writeFileSync(join(store, "node_modules", name), text)
  }
  symlinkSync("../store/node_modules/linked", join(place.dir, "plugin/node_modules/linked"))
  const { stderr } = await planOf(join(place.dir, "plugin", "plugin.ts"), 'import { who } from "linked"', "who")
  expect(answerOf(stderr)).toBe("beside it")
})

test("settings of the directory that banger is called from count for nothing", async () => {
  writeAll()
  writeFileSync(
    join(place.dir, "package.json"),
    '{ "imports": { "#inner": "./evil.js" }, "name": "nested", "exports": "./evil.js" }',
  )
  writeFileSync(join(place.dir, "plugin/package.json"), "{}")
  writeFileSync(join(place.dir, "evil.js"), "throw new Error('evil')")
  const { stderr } = await planOf(join(place.dir, "plugin", "plugin.ts"), 'import { who } from "nested"', "who")
  expect(answerOf(stderr)).toBe("outer")
})

function writeAll(): void {
  for (const [name, text] of Object.entries(FILES)) {
    const path = join(place.dir, "plugin", name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
}

async function planOf(plugin: string, imports: string, expression: string): Promise<Ended> {
  writeFileSync(join(dirname(plugin), "kernel"), "x")
  writeFileSync(
    plugin,
    `${imports}
    import { definePlugin } from "banger"
    export default definePlugin({
      kernel: "kernel",
      async configure() {
        console.error("ANSWER" + JSON.stringify(${expression}))
        return undefined
      },
    })\n`,
  )
  return banger(place, ["run", "--plan", plugin])
}

function answerOf(stderr: string): unknown {
  const [, answer] = /^ANSWER(.*)$/m.exec(stderr) ?? []
  return answer === undefined ? stderr : JSON.parse(answer)
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return ""
  }
}
