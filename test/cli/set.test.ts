import { expect, test } from "bun:test"
import { join } from "node:path"
import { PROGRAM } from "../program.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

function set(...words: string[]) {
  const env = {
    PATH: process.env.PATH,
    BANGER_STATE_DIR: join(directory.path, "state"),
    BANGER_RUNTIME_DIR: join(directory.path, "run"),
  }
  const run = Bun.spawnSync([...PROGRAM, "set", ...words], { env, cwd: directory.path })
  return { stderr: run.stderr.toString(), exit: run.exitCode }
}

test.each([
  [["memory=12X"], 'memory=12X: "12X" is not a size', "memory=512M"],
  [["memory="], 'memory=: "" is not a size', "memory=512M"],
  [["memory=-1M"], 'memory=-1M: "-1M" is not a size', "memory=512M"],
  [["memory=1000"], "memory=1000: not a whole number of MiB", "memory=512M"],
  [["balloon"], "balloon: balloon has no size", "balloon=512M"],
  [["balloon=1M", "balloon=2M"], "balloon=2M: balloon is set twice", "balloon=512M"],
  [["cpus=2"], 'cpus=2: "cpus" cannot be set', "memory=SIZE, balloon=SIZE"],
  [["memroy=1G"], 'memroy=1G: "memroy" cannot be set; did you mean memory?', "memory=SIZE, balloon=SIZE"],
  [["constructor=1G"], 'constructor=1G: "constructor" cannot be set', "memory=SIZE, balloon=SIZE"],
])("banger set VM %p is refused before anything is looked up", (words, message, hint) => {
  const { stderr, exit } = set("nobody", ...words)
  expect(stderr).toContain(message)
  expect(stderr).toContain(hint)
  expect(exit).toBe(2)
})

test("banger set without a change, and of no VM, is refused by name", () => {
  expect(set("nobody")).toEqual({ stderr: expect.stringContaining("WHAT is missing"), exit: 2 })
  expect(set("nobody", "memory=1G")).toEqual({ stderr: expect.stringContaining('no VM "nobody"'), exit: 2 })
})
