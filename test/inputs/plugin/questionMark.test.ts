import { expect, test } from "bun:test"
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { PROGRAM } from "../../program.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

function run(file: string, source: string) {
  const path = join(directory.path, file)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, source)
  return plan(file)
}

function plan(file: string) {
  const env = { PATH: process.env.PATH, BANGER_STATE_DIR: join(directory.path, "s"), BANGER_RUNTIME_DIR: "/run/none" }
  const { stderr, exitCode } = Bun.spawnSync([...PROGRAM, "run", "--plan", file], { env, cwd: directory.path })
  return { stderr: stderr.toString(), exit: exitCode }
}

const PLUGIN = 'export default { kernel: "/none" }'

test.each(["what?.ts", "a?b/p.ts", "?/p.ts", "p.ts?.ts"])("the plugin %s is refused by its name", (file) => {
  const { stderr, exit } = run(file, PLUGIN)
  expect(stderr).toContain(`${join(directory.path, file)}: a plugin's path cannot have a ?`)
  expect(stderr).toContain("rename the file, or its directory")
  expect(stderr).not.toContain("bunfs")
  expect(exit).toBe(2)
})

test("a link from a name that can be to one that cannot is refused too, the other way is fine", () => {
  run("a?b/p.ts", PLUGIN)
  symlinkSync("a?b/p.ts", join(directory.path, "link.ts"))
  expect(plan("link.ts").stderr).toContain("cannot have a ?")
  run("fine.ts", PLUGIN)
  symlinkSync("fine.ts", join(directory.path, "what?.ts"))
  expect(plan("what?.ts").stderr).toContain("there is no file /none")
})

test("an import of such a file says it, and other signs stay as they are", () => {
  writeFileSync(join(directory.path, "what?.ts"), "export const x = 1")
  const { stderr } = run("p.ts", `import { x } from "./what?.ts"\nexport default { kernel: "/none" + x }`)
  expect(stderr).toContain("what stands behind a ? is not taken")
  for (const file of ["a#b/p.ts", "a%20b/p.ts", "a b/p.ts", "a'b\"/p.ts", "ä/ö.ts", "a\nb/p.ts", "a&b=c;d/p.ts"])
    expect(run(file, PLUGIN).stderr).toContain("there is no file /none")
})
