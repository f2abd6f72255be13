import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { PROGRAM } from "../../program.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const tsc = join(import.meta.dir, "../../../node_modules/.bin/tsc")

const WRONG = [
  ['kernel: "k", memroy: "1G"', "'memroy' does not exist in type 'Plugin'. Did you mean to write 'memory'"],
  ['kernel: "k", vcpu: 2', "Did you mean to write 'vcpus'"],
  ['kernel: "k", drives: [{ pth: "x" }]', "Did you mean to write 'path'"],
  ['kernel: "k", network: { prots: [] }', "Did you mean to write 'ports'"],
  ["kernel: 5", "Type 'number' is not assignable to type 'string'"],
  ['memory: "1G"', "Property 'kernel' is missing"],
] as const

test("an editor names what is wrong of a plugin, not what a guard of sweeps would be", () => {
  Bun.spawnSync([...PROGRAM, "init", join(directory.path, "right.ts")])
  for (const [index, [fields]] of WRONG.entries())
    writeFileSync(
      join(directory.path, `wrong${index}.ts`),
      `import { definePlugin } from "banger"\nexport default definePlugin({ ${fields} })\n`,
    )
  const text = Bun.spawnSync([tsc, "-p", directory.path]).stdout.toString()
  for (const [index, [, words]] of WRONG.entries()) {
    const own = text.slice(text.indexOf(`wrong${index}.ts`)).split("\nwrong")[0]
    expect(own).toContain(words)
  }
  expect(text).not.toContain("SweepGuard'")
  expect(text).not.toContain("right.ts")
}, 60_000)
