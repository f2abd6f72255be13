import { expect, test } from "bun:test"
import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { findProgram, runSystem } from "../../../src/store/files/programs.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const isRoot = process.geteuid?.() === 0

function place(name: string): string {
  const dir = join(directory.path, name)
  mkdirSync(dir)
  writeFileSync(join(dir, "tool"), "#!/bin/sh\n", { mode: 0o755 })
  return dir
}

test("the first of PATH that is there, then of more directories", () => {
  const [a, b] = [place("a"), place("b")]
  expect(findProgram("tool", [], `/nonexistent:${a}:${b}`)).toEqual({ path: join(a, "tool"), passedOver: [] })
  expect(findProgram("tool", [b], "/nonexistent").path).toBe(join(b, "tool"))
  expect(findProgram("tool", [], "/nonexistent").path).toBeUndefined()
})

test("the working directory counts for nothing", () => {
  const dir = place("cwd")
  const before = process.cwd()
  process.chdir(dir)
  try {
    for (const PATH of ["", ".", ":", "./", "../cwd"]) expect(findProgram("tool", [], PATH).path).toBeUndefined()
  } finally {
    process.chdir(before)
  }
})

test.skipIf(!isRoot)("root passes over what others could change, says which, and takes the next", () => {
  const good = place("good")
  const spoils: [name: string, spoil: (dir: string) => void, why: RegExp][] = [
    ["open", (dir) => chmodSync(dir, 0o777), /open can be written by others \(run: chmod go-w/],
    ["group", (dir) => chmodSync(dir, 0o775), /group can be written by others/],
    ["theirs", (dir) => chownSync(dir, 12345, 0), /theirs belongs to uid 12345/],
    ["file", (dir) => chmodSync(join(dir, "tool"), 0o757), /others can write it \(run: chmod go-w/],
    ["owner", (dir) => chownSync(join(dir, "tool"), 12345, 0), /it belongs to uid 12345/],
  ]
  for (const [name, spoil, why] of spoils) {
    const dir = place(name)
    spoil(dir)
    const link = join(directory.path, `link-${name}`)
    mkdirSync(link)
    symlinkSync(join(dir, "tool"), join(link, "tool"))
    for (const each of [dir, link]) {
      expect(findProgram("tool", [], `${each}:${good}`)).toEqual({
        path: join(good, "tool"),
        passedOver: [expect.stringMatching(why)],
      })
    }
  }
})

test.skipIf(!isRoot)("a directory that a symlink leads to is named by its own path", () => {
  const dir = place("real")
  symlinkSync(dir, join(directory.path, "link"))
  expect(findProgram("tool", [], join(directory.path, "link")).path).toBe(join(dir, "tool"))
})

test("a program of the system gets its input, no environment and no directory of ours; one that is stuck is ended", () => {
  expect(runSystem(["sh", "-c", "cat; pwd; env; echo no >&2; exit 3"], "in\n")).toMatchObject({
    exit: 3,
    stdout: expect.stringMatching(/^in\n\/\n(?:PWD=.*\n|SHLVL=.*\n|_=.*\n|OLDPWD=.*\n)*$/),
    stderr: "no\n",
  })
  expect(runSystem(["sleep", "60"], "", 50)?.exit).toBeNull()
  expect(runSystem(["no-such-program"])).toBeUndefined()
})
