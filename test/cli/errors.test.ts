import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { EXIT, EXIT_OF } from "../../src/base/terms/failure.ts"

const root = join(import.meta.dir, "../..")
const text = readFileSync(join(root, "docs/errors.md"), "utf8")

/** How often the sources say FAILED, the code for what no other code fits. It may only fall: lower it with each that gets a code. */
const FAILED_COUNT = 8

test("docs/errors.md has every code with its exit status, and no other", () => {
  const rows = [...text.matchAll(/^\| `([A-Z_]+)` \| ([\dn+]+) \| (.+) \| (.+) \|$/gm)]
  const told = rows.map(([, code, exit]) => [code, exit])
  const known = Object.entries(EXIT_OF).map(([code, exit]) => [code, code === "INTERRUPTED" ? "128+n" : String(exit)])
  expect(told.toSorted()).toEqual(known.toSorted())
})

test("docs/errors.md and banger help exit-codes have every exit status", () => {
  const [, table = ""] = /## Exit statuses\n(.*?)\n## /s.exec(text) ?? []
  const told = [...table.matchAll(/^\| ([\dn+]+) \|/gm)].map(([, status]) => status)
  expect(told).toEqual([...Object.values(EXIT).map(String), "128+n"])
  const help = Bun.spawnSync([process.execPath, join(root, "cli.ts"), "help", "exit-codes"]).stdout.toString()
  expect([...help.matchAll(/^ {2}([\dn+]+) /gm)].map(([, status]) => status)).toEqual(told)
})

test("no code begins as the codes of system errors do", () => {
  expect(Object.keys(EXIT_OF).filter((code) => code.startsWith("E"))).toEqual([])
})

test("failures have a code that says more than FAILED: their number only falls", () => {
  const sources = [...new Bun.Glob("src/**/*.ts").scanSync(root)]
  const count = sources
    .map((path) => readFileSync(join(root, path), "utf8").match(/"FAILED"/g)?.length ?? 0)
    .reduce((sum, each) => sum + each, 0)
  if (count > FAILED_COUNT)
    throw new Error(`${count} failures are FAILED, ${FAILED_COUNT} were: give new ones a code of docs/errors.md`)
})
