import { expect, test } from "bun:test"
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, type Ended } from "./support/banger.ts"
import { eachInItsPlace } from "./support/place.ts"

const place = eachInItsPlace()

const PLUGIN = 'export default { kernel: "kernel" }\n'

/** Loads a plugin that begins with this code, beside files that all may write and that leave `proof` when they run. */
async function loading(code: string): Promise<Ended & { ran: boolean }> {
  const dir = join(place.dir, "plugins")
  const proof = join(place.dir, "proof")
  mkdirSync(dir)
  for (const name of ["open", "open.1", "worker.ts"]) {
    writeFileSync(join(dir, name), `require("node:fs").writeFileSync(${JSON.stringify(proof)}, "ran")\n`)
    chmodSync(join(dir, name), 0o666)
  }
  writeFileSync(join(dir, "kernel"), "x")
  writeFileSync(join(dir, "data.json"), '{ "name": "from-json" }\n')
  writeFileSync(join(dir, "data.toml"), 'name = "from-toml"\n')
  writeFileSync(join(dir, "data.txt"), "from text\n")
  writeFileSync(join(dir, "plugin.ts"), `${code}\n${code.includes("export default") ? "" : PLUGIN}`)
  return { ...(await banger(place, ["run", "--plan", join(dir, "plugin.ts")])), ran: existsSync(proof) }
}

test.each([
  'import "./open"',
  'export * from "./open"',
  'await import("./open")',
  'require("./open")',
  'const name = "./open"\nrequire(name)',
  'import { createRequire } from "node:module"\ncreateRequire(import.meta.url)("./open")',
  'import "./open.1" with { type: "ts" }',
])("root refuses %p: what has no extension that tells what it is could not be checked", async (code) => {
  const { stderr, exit, ran } = await loading(code)
  expect(stderr).toContain(": a plugin run as root may import only TypeScript, JavaScript, JSON, TOML and text")
  expect({ exit, ran }).toEqual({ exit: 1, ran: false })
})

test.each([
  'new Worker(new URL("./worker.ts", import.meta.url).href)',
  'import { Worker } from "node:worker_threads"\nnew Worker(new URL("./worker.ts", import.meta.url))',
  'import { Worker } from "worker_threads"\nnew Worker(new URL("./worker.ts", import.meta.url))',
  'const { Worker } = require("worker_threads")\nnew Worker(new URL("./worker.ts", import.meta.url))',
])("root refuses the worker of %p", async (code) => {
  const { stderr, exit, ran } = await loading(code)
  expect(stderr).toContain("a plugin run as root may not start a Worker")
  expect({ exit, ran }).toEqual({ exit: 1, ran: false })
})

test("what may be missing, what is built in, and data are imported as ever", async () => {
  const { stderr, exit } = await loading(`
    import { definePlugin } from "banger"
    import { Database } from "bun:sqlite"
    import { readFileSync } from "fs"
    import json from "./data.json"
    import toml from "./data.toml"
    import text from "./data.txt"
    try { require("optional") } catch {}
    await import("optional").catch(() => {})
    console.error(json.name, toml.name, text, typeof Database, typeof readFileSync)
    export default definePlugin({ kernel: "kernel" })`)
  expect(stderr).toContain("from-json from-toml from text\n function function")
  expect(exit).toBe(0)
})
