import { expect, test } from "bun:test"
import { mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { banger } from "./support/banger.ts"
import { eachInItsPlace } from "./support/place.ts"

// Where an error of a plugin's code stands is told by the compiled binary, whose own frames are in one file.

const place = eachInItsPlace()

const HELPER = "export function boom(x: { more?: { text: string } }): string {\n  // why\n  return x.more!.text\n}\n"
const hook = (code: string) => `import { boom } from "./helper.ts"
export default {
  kernel: "k",
  async configure() {
    ${code}
    return undefined
  },
}
`

test.each([
  ["of its own", hook('throw new Error("mine")'), "plugin.ts:5:15: configure threw: mine"],
  ["after a wait", hook('await Bun.sleep(1); throw new Error("mine")'), "plugin.ts:5:35: configure threw: mine"],
  ["of an imported file", hook("boom({})"), "helper.ts:3:12: configure threw: undefined is not an object"],
  ["of the runtime", hook('JSON.parse("{")'), "plugin.ts:5:10: configure threw: JSON Parse error"],
  [
    "of a package, called by an imported file",
    hook('(await import("./calls.ts")).call()'),
    "calls.ts:3:3: configure threw: deep",
  ],
  ["of top-level code", `${hook("")}boom({})\n`, "helper.ts:3:12: "],
  ["of an import's top-level code", `import "./top.ts"\n${hook("")}`, "top.ts:2:11: "],
  ["of an import's syntax", `import "./syntax.ts"\n${hook("")}`, "syntax.ts:1:11: Unexpected ="],
  [
    "of an import that is not exported",
    `import { none } from "./helper.ts"\nnone()\n${hook("")}`,
    "plugin.ts:1:23: ./helper.ts exports no none",
  ],
])("an error %s is told with its place", async (_, code, words) => {
  const files = {
    "plugin.ts": code,
    "helper.ts": HELPER,
    "top.ts": "export const x = 1\nthrow new Error('top')\n",
    "syntax.ts": "const b = = 2\n",
    "calls.ts": 'import { deep } from "deep"\nexport const call = () => {\n  deep(30)\n}\n',
    "node_modules/deep/index.js":
      "exports.deep = function deep(n) { if (n === 0) throw new Error('deep'); const x = deep(n - 1); return x }",
    k: "x",
  }
  const dir = join(place.dir, "plugin")
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true })
    writeFileSync(join(dir, name), text)
  }
  const run = await banger(place, ["run", "--plan", join(dir, "plugin.ts")])
  expect(run.stderr).toContain(` ERROR  ${dir}/${words}`)
  expect(run.exit).not.toBe(0)
  const verbose = await banger(place, ["run", "--plan", "--verbose", join(dir, "plugin.ts")])
  const frames = verbose.stderr.split("\n").filter((line) => /^\s+at /.test(line))
  const own = frames.findIndex((line) => line.includes("/$bunfs/"))
  // Of a syntax error and the like there is no stack of the user's.
  if (/threw|top-level/.test(words)) expect(frames[0]).toContain(dir)
  expect(frames.slice(own).findIndex((line) => line.includes(dir))).toBe(own === -1 ? 0 : -1)
})
