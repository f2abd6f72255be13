import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"
import type { ArgsDef } from "citty"
import { commandsBelow } from "../src/cli/terminal/command.ts"
import { findCommand } from "../src/cli/terminal/findCommand.ts"
import { parseWords } from "../src/cli/terminal/parse.ts"
import { root as tree } from "../src/cli/tree.ts"
import { readDeclarations } from "../src/inputs/starter/declarations.ts"
import { PROGRAM } from "./program.ts"

const root = join(import.meta.dir, "..")
const files = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)]
let dir = ""

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "banger-docs-"))
  // The examples name these beside themselves; a plan only looks whether they are there.
  for (const name of ["vmlinuz", "initrd.img"]) writeFileSync(join(dir, name), "x")
  // What the examples leave open: QEMU, emulating, whatever else is in PATH.
  writeFileSync(join(dir, "config.toml"), 'accel = "tcg"\n', { mode: 0o644 })
})
afterAll(() => rmSync(dir, { recursive: true }))

const examples = files.flatMap((file) => {
  const blocks = readFileSync(join(root, file), "utf8").matchAll(/^```ts\n(.*?)^```$/gms)
  return [...blocks].map(([, code = ""], index) => ({ file, index, code }))
})

test("there are examples to try", () => {
  expect(examples.length).toBeGreaterThan(3)
})

test.each(examples)("example $index of $file is a plugin that banger takes", ({ code, index, file }) => {
  const plugin = join(dir, `${file.replace(/\W/g, "-")}-${index}.ts`)
  writeFileSync(plugin, code)
  const env = {
    ...process.env,
    PATH: `${fakeQemu()}:${process.env.PATH}`,
    BANGER_STATE_DIR: join(dir, "state"),
    BANGER_CONFIG: join(dir, "config.toml"),
  }
  const run = Bun.spawnSync([...PROGRAM, "run", "--plan", plugin], { env })
  expect({ stderr: run.stderr.toString(), exit: run.exitCode }).toEqual({ stderr: "", exit: 0 })
  expect(run.stdout.toString()).toContain("start qemu: ")
})

test("every example type-checks with the types that banger init writes", () => {
  const started = Bun.spawnSync([...PROGRAM, "init", join(dir, "starter.ts")])
  expect(started.exitCode).toBe(0)
  for (const name of readdirSync(join(root, "plugins")))
    writeFileSync(join(dir, `plugins-${name}`), readFileSync(join(root, "plugins", name)))
  const checked = Bun.spawnSync([join(root, "node_modules/.bin/tsc"), "-p", dir])
  expect({ out: checked.stdout.toString(), exit: checked.exitCode }).toEqual({ out: "", exit: 0 })
})

test("every file a document links to is there", () => {
  for (const file of files) {
    const text = readFileSync(join(root, file), "utf8")
    for (const [, target = ""] of text.matchAll(/\]\((?!https?:)([^)#]+)\)/g)) {
      expect(Bun.file(join(root, file, "..", target)).size, `${target} in ${file}`).toBeGreaterThan(0)
    }
  }
})

/** Every `banger …` that a document has in code spans, without what stands for something else. */
function mentions(file: string): readonly string[] {
  const text = readFileSync(join(root, file), "utf8")
  const spans = [...text.matchAll(/`(banger [^`]+)`/g)].map(([, span = ""]) => span)
  return spans.filter((span) => /^banger [a-z_]/.test(span))
}

test.each(files)("every command that %s mentions is there, with its options", async (file) => {
  for (const mention of mentions(file)) {
    const words = mention
      .replace(/ --( .*)?$/, "")
      .replace(/[[\]…]/g, "")
      .split(" ")
      .slice(1)
    if (words[0] === "help") continue
    const { args } = (await findCommand(tree, words)).command
    const options = words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.split("=")[0] ?? "")
    for (const option of options)
      expect(parsed([option], args), `${option} of ${mention}`).not.toContain("unknown option")
  }
})

test("every test that the README names is there", () => {
  const text = readFileSync(join(root, "README.md"), "utf8")
  const named = [...text.matchAll(/`((?:test|scripts)\/[\w/.-]+)`/g)].map(([, path = ""]) => path)
  expect(named.length).toBeGreaterThan(15)
  for (const path of named) {
    const [dir, base] = [dirname(join(root, path)), basename(path)]
    expect({ path, there: readdirSync(dir).some((name) => name.startsWith(base)) }).toEqual({ path, there: true })
  }
})

test.each(["docs/flows.md", "CONTRIBUTING.md", "docs/design.md"])(
  "every file and folder that %s names is there",
  (file) => {
    const text = readFileSync(join(root, file), "utf8")
    const doors = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter(
      (path) => !path.includes("."),
    )
    const first = ["src", "test", "docs", "scripts", "plugins", ...doors.map((path) => basename(path))].join("|")
    const named = [...text.matchAll(new RegExp(`(?<![\\w/.<-])(?:${first})/\\w[\\w./-]*\\w`, "g"))].map(
      ([path]) => path,
    )
    expect(named.length).toBeGreaterThan(5)
    const there = readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && ["src", "test", "docs", "scripts", "plugins"].includes(entry.name))
      .flatMap(({ name }) =>
        readdirSync(join(root, name), { recursive: true, encoding: "utf8" }).map((path) => `/${name}/${path}`),
      )
      .flatMap((path) => [path, path.replace(/\.ts$/, ""), path.replace(/\.test\.ts$/, "")])
    expect(named.filter((path) => !there.some((one) => one.endsWith(`/${path}`)))).toEqual([])
  },
)

/** The members of an interface of banger.d.ts. */
function membersOf(name: string): readonly string[] {
  const types = readDeclarations()
  const [, body = ""] = new RegExp(`^  export interface ${name}\\b[^{]*\\{\\n(.*?)^  \\}$`, "ms").exec(types) ?? []
  return [...body.matchAll(/^ {4}(?:readonly )?"?([\w-]+)"?[?]?[:(]/gm)].map(([, member = ""]) => member)
}

test.each([
  ...["Plugin", "Spec", "RestartOptions", "Limits", "IoLimit", "Drive", "Timeouts", "ConsoleOptions", "Hooks"],
  ...["ConfigureContext", "HookContext", "PreBootContext", "RunningContext", "PostStopContext", "SweepContext"],
  ...["Vm", "VmNetwork", "Log", "Stage", "Exit"],
])("docs/plugins.md has every member of %s", (name) => {
  const text = readFileSync(join(root, "docs/plugins.md"), "utf8")
  const spans = [...text.matchAll(/`([^`\n]+)`/g)].map(([, span = ""]) => span).join("\n")
  const members = membersOf(name)
  expect(members.length).toBeGreaterThan(0)
  expect(members.filter((member) => !new RegExp(`\\b${member}\\b`).test(spans))).toEqual([])
})

test.each([
  ["Network", "docs/network.md"],
  ["FirecrackerSettings", "docs/firecracker.md"],
])("every member of %s is in %s", (name, file) => {
  const text = readFileSync(join(root, file), "utf8")
  expect(membersOf(name).filter((member) => !new RegExp(`\\b${member}\\b`).test(text))).toEqual([])
})

test("docs/plugins.md has every way that a VM ends", () => {
  const types = readDeclarations()
  const [, body = ""] = /readonly reason:\n(.*?)\/\*\* Whether banger asked/s.exec(types) ?? []
  const text = readFileSync(join(root, "docs/plugins.md"), "utf8")
  const reasons = [...body.matchAll(/\| "([^"]+)"/g)].map(([, reason = ""]) => reason)
  expect(reasons.length).toBeGreaterThan(6)
  for (const reason of reasons) expect(text).toContain(`| \`${reason}\` |`)
})

test("docs/design.md has every room of src", () => {
  const text = readFileSync(join(root, "docs/design.md"), "utf8")
  const rooms = readdirSync(join(root, "src"), { withFileTypes: true, recursive: true }).filter((entry) => {
    return entry.isDirectory()
  })
  for (const { name, parentPath } of rooms) {
    const [path, door] = [join(parentPath, name), parentPath === join(root, "src")]
    // A door with its rooms behind it on the same lines: `host/  jail/  network/ …`.
    expect({ path, told: text.includes(door ? `src/${name}` : ` ${name}/`) }).toEqual({ path, told: true })
  }
})

test("every command is mentioned in the README", async () => {
  const names = mentions("README.md").map((mention) => mention.split(" ")[1])
  const commands = (await commandsBelow(tree)).map(({ meta }) => meta.name)
  expect(commands.filter((name) => !names.includes(name) && name !== "version")).toEqual([])
})

function parsed(words: readonly string[], args: ArgsDef): string {
  try {
    parseWords(words, args)
    return ""
  } catch (error) {
    return String(error)
  }
}

/** A plan names QEMU's path and starts nothing; a machine without QEMU can make one all the same. */
function fakeQemu(): string {
  writeFileSync(join(dir, "qemu-system-x86_64"), "#!/bin/sh\necho QEMU emulator version 7.2.0\n", { mode: 0o755 })
  return dir
}
