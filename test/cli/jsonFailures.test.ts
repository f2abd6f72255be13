import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { type Command, load } from "../../src/cli/terminal/command.ts"
import { root } from "../../src/cli/tree.ts"
import { documentsIn, failureIn, type Said } from "../jsonSaid.ts"
import { PROGRAM } from "../program.ts"
import { eachInItsDirectory } from "../temporary.ts"

const directory = eachInItsDirectory()

function environment(): Record<string, string | undefined> {
  return {
    PATH: process.env.PATH,
    BANGER_STATE_DIR: join(directory.path, "state"),
    BANGER_RUNTIME_DIR: join(directory.path, "run"),
  }
}

function banger(...args: readonly string[]): Said {
  const run = Bun.spawnSync([...PROGRAM, ...args], {
    env: environment(),
    cwd: directory.path,
  })
  return { stdout: run.stdout.toString(), stderr: run.stderr.toString(), exit: run.exitCode }
}

/** What each of many command lines says, which are run in one process: hundreds of their own would take a minute. */
function each(lines: readonly (readonly string[])[]): readonly Said[] {
  const run = Bun.spawnSync(
    [process.execPath, join(import.meta.dir, "../fixtures/commandLines.ts"), JSON.stringify(lines)],
    { env: environment(), cwd: directory.path },
  )
  const [outs, errs] = [run.stdout, run.stderr].map((bytes) => bytes.toString().split("\n=====\n").slice(1))
  const statuses: readonly number[] = JSON.parse(outs?.at(-1) ?? "[]")
  expect(statuses.length).toBe(lines.length)
  return statuses.map((exit, index) => ({ stdout: outs?.[index] ?? "", stderr: errs?.[index] ?? "", exit }))
}

/** Every command with the words that name it, also those that banger calls itself by. */
async function commandsOf(parent: Command, path: readonly string[] = []): Promise<[path: string[], Command][]> {
  const below = Object.entries(parent.subCommands ?? {}).map(async ([name, sub]) => {
    const command = await load(sub)
    return [[[...path, name], command] as [string[], Command], ...(await commandsOf(command, [...path, name]))]
  })
  return (await Promise.all(below)).flat()
}

/** Words that each command must refuse, made from its definition. */
function wrongWords(
  path: readonly string[],
  { args, takesMany, takesRest, run }: Command,
): readonly (readonly string[])[] {
  const positionals = Object.entries(args).filter(([, { type }]) => type === "positional")
  const required = positionals.filter(([, { required: is }]) => is === true).map(([name]) => name)
  const valued = Object.entries(args).filter(([, { type }]) => type === "string" || type === "enum")
  const enums = valued.filter(([, { type }]) => type === "enum")
  return [
    [...path, "--no-such-option"],
    [...path, "--\u001b[31m\u009b\u2028\u007f"],
    [...path, "--quiet", "--quiet"],
    [...path, "--json=yes"],
    ...valued.map(([name]) => [...path, ...required, `--${name}`]),
    ...valued.map(([name]) => [...path, ...required, `--${name}=`]),
    ...enums.map(([name]) => [...path, ...required, `--${name}=nothing`]),
    ...(required.length > 0 || run === undefined ? [path] : []),
    ...(takesMany || run === undefined ? [] : [[...path, ...positionals.map(([name]) => name), "too-many"]]),
    ...(takesRest || run === undefined ? [] : [[...path, ...required, "--", "x"]]),
  ]
}

test("every command refuses wrong words in JSON alone, wherever --json stands", async () => {
  const commands = await commandsOf(root)
  expect(commands.length).toBeGreaterThan(25)
  const wrong = [
    ...commands.flatMap(([path, command]) => wrongWords(path, command)),
    [],
    ["nonsense"],
    ["--jsn"],
    ["net", "lss"],
  ]
  expect(wrong.length).toBeGreaterThan(200)
  const lines = wrong.map((words, index) => {
    const cut = words.indexOf("--")
    if (index % 2 === 0) return ["--json", ...words]
    return cut === -1 ? [...words, "--json"] : words.toSpliced(cut, 0, "--json")
  })
  for (const [index, said] of each(lines).entries()) {
    const { code, subject } = failureIn(said)
    expect({ words: lines[index], code, subject, stdout: said.stdout }).toEqual({
      words: lines[index],
      code: "USAGE",
      subject: expect.stringMatching(/./),
      stdout: "",
    })
  }
}, 60_000)

/** attach has no JSON at all; to __recover a VM that is gone is finished. */
const NOT_ASKED = ["attach", "__recover"]

test("a VM that is not there is NO_SUCH_VM to every command on VMs", async () => {
  const commands = (await commandsOf(root)).filter(
    ([path, { args }]) => "vm" in args && !NOT_ASKED.includes(path[0] ?? ""),
  )
  expect(commands.length).toBeGreaterThan(8)
  const lines = commands.map(([path, { args }]) => {
    const positional = Object.keys(args).filter((name) => name !== "vm" && args[name]?.type === "positional")
    const more = path[0] === "set" ? ["memory=64M"] : positional
    return [...path, "--json", "nobody", ...more]
  })
  // These two take over standard output, which must not be that of the others.
  const apart = (words: readonly string[]) => words[0]?.startsWith("__") === true
  const said = [
    ...each(lines.filter((words) => !apart(words))),
    ...lines.filter(apart).map((words) => banger(...words)),
  ]
  for (const one of said)
    expect(failureIn(one)).toMatchObject({ code: "NO_SUCH_VM", subject: "nobody", message: 'no VM "nobody"' })
}, 60_000)

test("one failure of many VMs: of one its own, of several the first one's code with all messages", () => {
  const { code, message } = failureIn(banger("rm", "--json", "a", "b", "c"))
  expect(code).toBe("NO_SUCH_VM")
  for (const vm of ["3 of 3 VMs", '"a"', '"b"', '"c"']) expect(message).toContain(vm)
})

const PLUGINS = {
  throws: 'throw new Error("no luck\\x9b31m")',
  syntax: "export default {",
  nothing: "export default 1",
  field: 'export default { name: "web", kernel: "k", vcpus: -1 }',
  talks: 'console.log("hello\\nthere"); console.error("\\x1b[31mred"); process.stdout.write("raw\\n"); throw 1',
  spawns: 'Bun.spawnSync(["sh", "-c", "echo out; echo err >&2"], { stdio: ["ignore", "inherit", "inherit"] }); throw 1',
}

test.each(Object.keys(PLUGINS) as (keyof typeof PLUGINS)[])(
  "a plugin that is wrong (%s) is BAD_PLUGIN, also detached",
  (name) => {
    writeFileSync(join(directory.path, "x.ts"), PLUGINS[name])
    for (const words of [
      ["run", "x.ts"],
      ["run", "-d", "x.ts"],
      ["run", "--plan", "x.ts"],
      ["sweep", "--plugin", "x.ts"],
    ]) {
      const said = banger(...words, "--json")
      expect(failureIn(said)).toMatchObject({ code: "BAD_PLUGIN" })
      expect({ words, stdout: said.stdout }).toEqual({ words, stdout: "" })
    }
  },
)

test.each([
  ["BAD_PLUGIN", ["run", "none.ts"]],
  ["USAGE", ["run", "x.ts", "--timeout", "5"]],
  ["USAGE", ["stop", "x", "--timeout", "soon"]],
  ["USAGE", ["sweep", "--grace", "60"]],
  ["USAGE", ["sweep", "--depth", "17"]],
  ["USAGE", ["attach", "nobody"]],
] as const)("%s: %p", (code, words) => {
  expect(failureIn(banger(...words, "--json")).code).toBe(code)
})

test("what the host refuses to write is no fault of banger's", () => {
  const [init] = each([["init", "/proc/x.ts", "--json"]])
  expect(init && failureIn(init)).toMatchObject({ code: "BAD_FILE", subject: "/proc/x.ts", exit: 2 })
  const env = { ...environment(), BANGER_STATE_DIR: "/proc/nothing" }
  const cli = join(import.meta.dir, "../../cli.ts")
  const listing = Bun.spawnSync([process.execPath, cli, "ps", "--json"], { env })
  expect(JSON.parse(listing.stderr.toString())).toMatchObject({
    error: { code: "BAD_CONFIG", subject: "/proc/nothing", exit: 2 },
  })
  const full = Bun.spawnSync(["sh", "-c", 'exec "$@" > /dev/full', "sh", process.execPath, cli, "help", "--json"], {
    env: environment(),
  })
  expect(JSON.parse(full.stderr.toString())).toMatchObject({ error: { code: "NO_SPACE", subject: "stdout", exit: 1 } })
})

test("a failure of our own tells its stack within the JSON, and only when it is asked for", () => {
  const state = join(directory.path, "state")
  writeFileSync(state, "not a directory")
  const { stderr } = banger("ps", "--json", "--verbose")
  expect(JSON.parse(stderr.trimEnd().split("\n").at(-1) ?? "").error.stack).toContain("    at ")
  expect(banger("ps", "--json").stderr).not.toContain("    at ")
})

test("what is printed when all is well is JSON too", () => {
  const lines = [
    ["help"],
    ["help", "images"],
    ["run", "--help"],
    ["version"],
    ["--version"],
    ["get", "ls"],
    ["net", "ls"],
  ]
  for (const words of [
    ...lines,
    ["init", "new.ts"],
    ["system", "cron"],
    ["complete", "zsh"],
    ["ps"],
    ["events"],
    ["sweep"],
  ]) {
    documentsIn(banger(...words, "--json"))
  }
})
