import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"

const root = join(import.meta.dir, "..")
const middle = ["plugin", "vmm", "jail", "network", "sockets", "process"]

/** From each folder, the folders it may import from besides itself; `cli` is cli.ts. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  cli: ["commands", "terms"],
  commands: ["doctor", "download", "lifecycle", "plugin", "state", "linux", "terms"],
  doctor: ["lifecycle", ...middle, "state", "linux", "terms"],
  lifecycle: [...middle, "download", "state", "linux", "terms"],
  download: ["state", "linux", "terms"],
  ...Object.fromEntries(middle.map((folder) => [folder, ["state", "linux", "terms"]])),
  state: ["linux", "terms"],
  linux: [],
  terms: [],
}

const sources = ["cli.ts", ...new Bun.Glob("src/**/*.ts").scanSync(root)].sort()
const folderOf = (path: string) => (path === "cli.ts" ? "cli" : (path.split("/")[1] ?? ""))

/** Every module a file names in an import or export, types included, comments left out. */
function importsOf(path: string): readonly string[] {
  const text = readFileSync(join(root, path), "utf8").replace(/^\s*(?:\/\/|\/?\*).*$/gm, "")
  return [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"/g)].map(([, name = ""]) => name)
}

test("folders import only along the arrows, never up", () => {
  const wrong = sources.flatMap((path) => {
    const own = folderOf(path)
    const targets = importsOf(path).filter((name) => name.startsWith("."))
    return targets
      .map((name) => relative(root, join(root, dirname(path), name)))
      .filter((target) => target.startsWith("src/") || target === "cli.ts")
      .filter((target) => folderOf(target) !== own && !ARROWS[own]?.includes(folderOf(target)))
      .map((target) => `${path} → ${target}`)
  })
  expect(wrong).toEqual([])
})

test("the check sees imports at all", () => {
  expect(importsOf("src/lifecycle/chooseVmm.ts")).toContain("../vmm/qemu.ts")
  expect(importsOf("cli.ts")).toContain("./src/commands/run.ts")
})

test("only src/linux calls into libc", () => {
  const users = sources.filter((path) => importsOf(path).includes("bun:ffi"))
  expect(users.map(folderOf)).toEqual(users.map(() => "linux"))
  expect(users).not.toEqual([])
})

const CHANGES = /^(?:l?chmod|l?chown|link|mkdtemp|rename|rm|rmdir|symlink|truncate|unlink|l?utimes)(?:Sync)?$/

/** What a text takes from Node's file system modules, or uses of Bun's, that changes what a path leads to. */
function changesByPath(text: string): readonly string[] {
  const imports = text.matchAll(/import (?!type )(.*?) from "(?:node:)?(?:fs|fs\/promises|child_process)"/gs)
  const names = [...imports].flatMap(([, list = ""]) =>
    list.startsWith("{")
      ? list
          .slice(1, -1)
          .split(",")
          .map((name) => name.trim().split(" ")[0] ?? "")
      : [`all: ${list}`],
  )
  const others = text.match(/\bBun\.\$|\bBun\.file\([^)]*\)\.(?:delete|unlink)\(/g) ?? []
  return [
    ...names.filter((name) => CHANGES.test(name) || name.startsWith("all: ") || /^(?:exec|spawn|fork)/.test(name)),
    ...others,
  ]
}

test("one gate: what owns, renames, links, removes or mounts is done by src/linux alone, by descriptor", () => {
  const code = (path: string) => readFileSync(join(root, path), "utf8")
  const others = sources.filter((path) => folderOf(path) !== "linux")
  expect(others.flatMap((path) => changesByPath(code(path)).map((what) => `${path}: ${what}`))).toEqual([])
  // The calls of src/linux take a directory's descriptor, or one of the thing itself; none but these take a path.
  const linux = sources.filter((path) => folderOf(path) === "linux").map(code)
  const symbols = [...(linux.find((text) => text.includes("SYMBOLS = {"))?.matchAll(/^ {2}(\w+): \{ args/gm) ?? [])]
  const byPath = ["chmod", "chown", "lchown", "link", "mount", "rename", "rmdir", "symlink", "umount", "unlink"]
  expect(symbols.map(([, name = ""]) => name).filter((name) => byPath.includes(name))).toEqual([])
  expect(symbols.length).toBeGreaterThan(30)
})

test("the gate sees what it is there for", () => {
  for (const text of [
    'import { rmSync } from "node:fs"',
    'import { readFile, unlink as gone } from "node:fs/promises"',
    'import * as fs from "fs"',
    'import { spawn } from "node:child_process"',
    "await Bun.file(path).delete()",
    "Bun.$`rm x`",
  ])
    expect(changesByPath(text), text).not.toEqual([])
  expect(changesByPath('import { readFileSync, openSync } from "node:fs"')).toEqual([])
})

test("files are small, and nothing in them is left for later", () => {
  for (const path of sources) {
    const text = readFileSync(join(root, path), "utf8")
    expect(text.split("\n").length, path).toBeLessThan(400)
    expect(text, path).not.toMatch(/\b(?:TODO|FIXME|XXX)\b/)
  }
})

test("banger --version loads nothing but what tells the version", () => {
  const dynamic = /import\("/
  const text = readFileSync(join(root, "cli.ts"), "utf8")
  const loaded = text.split("\n").filter((line) => /^import (?!type )/.test(line) && !dynamic.test(line))
  expect(loaded).toEqual(['import { versionText } from "./src/commands/version.ts"'])
  expect(importsOf("src/commands/version.ts")).toEqual(["../../package.json"])
})
