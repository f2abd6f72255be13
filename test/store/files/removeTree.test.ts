import { expect, test } from "bun:test"
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { O, O_DIRECTORY } from "../../../src/base/linux/constants.ts"
import { openAt, withDescriptor } from "../../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../../src/base/linux/guards.ts"
import { removeTree } from "../../../src/store/files/removeTree.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const remove = (name: string) =>
  withDescriptor(openAt(AT_FDCWD, directory.path, O.PATH | O_DIRECTORY), (dir) => removeTree(dir, name))

test("a tree goes, and what its symlinks point to stays", () => {
  mkdirSync(join(directory.path, "outside/deep"), { recursive: true })
  writeFileSync(join(directory.path, "outside/deep/file"), "kept")
  mkdirSync(join(directory.path, "tree/a/b/c"), { recursive: true })
  symlinkSync("../../outside", join(directory.path, "tree/a/link"))
  symlinkSync("/", join(directory.path, "tree/root"))
  writeFileSync(join(directory.path, "tree/a/b/file"), "x")
  Bun.spawnSync([
    "sh",
    "-c",
    `cd ${directory.path}/tree && mkfifo fifo && touch "$(printf 'a\\377\\nb')" && mkdir "$(printf 'd\\377')"`,
  ])
  remove("tree")
  expect(readdirSync(directory.path)).toEqual(["outside"])
  expect(readFileSync(join(directory.path, "outside/deep/file"), "utf8")).toBe("kept")
})

test("what a removal by the same pid left when it was killed is in nobody's way", () => {
  for (const name of ["a", `.removing-${process.pid}-0`, `.removing-${process.pid}-1`]) {
    mkdirSync(join(directory.path, "tree", name, "inside"), { recursive: true })
    writeFileSync(join(directory.path, "tree", name, "file"), "x")
  }
  remove("tree")
  expect(readdirSync(directory.path)).toEqual([])
})

test("what is gone already is success", () => {
  remove("tree")
  mkdirSync(join(directory.path, "tree"))
  remove("tree")
  remove("tree")
  expect(readdirSync(directory.path)).toEqual([])
})

test("a symlink in the tree's place is not followed", () => {
  mkdirSync(join(directory.path, "real"))
  symlinkSync("real", join(directory.path, "tree"))
  expect(() => remove("tree")).toThrow("tree cannot be removed")
  expect(readdirSync(directory.path).sort()).toEqual(["real", "tree"])
})

test("a tree of any depth goes with few descriptors", () => {
  const made = Bun.spawnSync(["perl", "-e", 'mkdir "tree"; chdir "tree"; for (1..3000) { mkdir "d"; chdir "d" }'], {
    cwd: directory.path,
  })
  expect(made.exitCode).toBe(0)
  const code = `
    import { removeTree } from "${join(import.meta.dir, "../../../src/store/files/removeTree.ts")}"
    import { openAt } from "${join(import.meta.dir, "../../../src/base/linux/files.ts")}"
    removeTree(openAt(-100, ${JSON.stringify(directory.path)}, ${O.PATH | O_DIRECTORY}), "tree")`
  // Bun itself opens some two dozen.
  const run = Bun.spawnSync(["sh", "-c", 'ulimit -n 48; exec "$1" -e "$2"', "sh", process.execPath, code])
  expect({ code: run.exitCode, said: run.stderr.toString() }).toEqual({ code: 0, said: "" })
  expect(readdirSync(directory.path)).toEqual([])
}, 60_000)
