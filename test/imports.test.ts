import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"

const root = join(import.meta.dir, "..")
const middle = ["plugin", "vmm", "jail", "network", "sockets", "process"]

/** From each folder, the folders it may import from besides itself; `cli` is cli.ts. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  cli: ["commands", "terms"],
  commands: ["lifecycle", "plugin", "state", "linux", "terms"],
  lifecycle: [...middle, "state", "linux", "terms"],
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
  expect(importsOf("src/lifecycle/run.ts")).toContain("../vmm/qemu.ts")
  expect(importsOf("cli.ts")).toContain("./src/commands/run.ts")
})

test("only src/linux calls into libc", () => {
  const users = sources.filter((path) => importsOf(path).includes("bun:ffi"))
  expect(users.map(folderOf)).toEqual(users.map(() => "linux"))
  expect(users).not.toEqual([])
})

test("nothing removes, owns or runs by path what src/linux does by descriptor", () => {
  const banned = /\b(?:rmSync|rmdirSync|chownSync|lchownSync|child_process|Bun\.\$|fs\.rm|unlinkSync\((?!temporary))/
  const users = sources.filter((path) => banned.test(readFileSync(join(root, path), "utf8")))
  expect(users).toEqual([])
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
