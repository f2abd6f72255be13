import { expect, test } from "bun:test"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseSpec, readDefinition } from "../../../src/inputs/plugin/definition.ts"
import { lineOf } from "../../../src/inputs/plugin/lineOf.ts"
import { readTrusted, trustOf } from "../../../src/inputs/plugin/trust.ts"
import { writeStarter } from "../../../src/inputs/starter/starter.ts"
import { inOrder, runHook } from "../../../src/supervisor/hooks/callHook.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const source = { path: "/p/plugin.ts", text: "" }

test("a spec has every default filled in", () => {
  expect(parseSpec({ kernel: "k" }, source)).toEqual({
    kernel: "k",
    bootArgs: "console=ttyS0 reboot=k panic=1",
    vcpus: 1,
    memory: 256,
    drives: [],
    network: false,
    vmm: "auto",
    accel: "auto",
    firecracker: {},
    limits: {},
    timeouts: { start: 30_000, stop: 30_000, hook: 60_000 },
    console: { limit: 16 * 1024 * 1024 },
    ends: "any",
    restart: { policy: "no", limit: 5, delay: 1000 },
    after: [],
    unsafeClone: false,
  })
})

test("all that is wrong with a spec is told at once", () => {
  const wrong = () => parseSpec({ kernel: "k", vcpus: 0, memory: "lots", bootArg: "" }, source)
  expect(wrong).toThrow(/vcpus is 0; .*\n.*memory is "lots"; .*\n.*unknown key bootArg; did you mean bootArgs\?/s)
})

const TEXT = `export default {
  // memory: see below
  kernel: "k",
  memory: "1G",
  drives: [
    { path: "a" },
    { path: "b", readonly: 1 },
  ],
  timeouts: { stop: "1s" }, stop: 7,
  preBoot(ctx) {},
}`
test.each([
  [["kernel"], 3],
  [["timeouts"], 9],
  [["preBoot"], 10],
  [["drives", 1, "readonly"], 7],
  [["memory"], undefined],
  [["drives", 0, "path"], undefined],
  [["timeouts", "stop"], undefined],
  [["missing"], undefined],
  [[], undefined],
] as const)("the field %p is written in line %p, where there is no doubt", (path, line) => {
  expect(lineOf(TEXT, path)).toBe(line as number)
})

test("pre hooks run in order, post hooks in reverse, those of used plugins first and last", () => {
  const hook = () => undefined
  const first = { preBoot: hook, postStop: hook }
  const second = { preBoot: hook }
  const plugin = { kernel: "k", use: [first, second], preBoot: hook, postStop: hook }
  const definition = readDefinition(plugin, source)
  const names = (list: readonly unknown[]) => list.map((hooks) => [first, second].indexOf(hooks as typeof first))
  expect(names(inOrder(definition, "preBoot"))).toEqual([0, 1, -1])
  expect(names(inOrder(definition, "postStop"))).toEqual([-1, 0])
  expect(names(inOrder(definition, "postBoot"))).toEqual([])
  expect(definition.spec).toEqual({ kernel: "k" })
})

test("a hook is given up when its time is up or it is interrupted, and is told so", async () => {
  const interrupt = new AbortController()
  let told: AbortSignal | undefined
  const waitFor = (limit: number) =>
    runHook("preBoot", { limit, interrupt: interrupt.signal }, (signal) => {
      told = signal
      return new Promise(() => {})
    })
  expect(waitFor(5)).rejects.toThrow("preBoot did not finish in 5ms")
  await waitFor(5).catch(() => {})
  expect(told?.aborted).toBe(true)
  const waiting = waitFor(60_000)
  interrupt.abort()
  expect(waiting).rejects.toThrow("preBoot was interrupted")
})

test("a hook that throws, now or later, is named", async () => {
  const limits = { limit: 1000, interrupt: new AbortController().signal }
  const thrower = () => {
    throw new Error("no luck")
  }
  expect(runHook("postBoot", limits, thrower)).rejects.toThrow("postBoot threw: no luck")
  expect(runHook("postBoot", limits, async () => thrower())).rejects.toThrow("postBoot threw: no luck")
  expect(await runHook("postBoot", limits, async () => 7)).toBe(7)
})

test("as root only root's code is trusted, and that of the user who called sudo", () => {
  expect(trustOf(1000, undefined)).toEqual({ uids: undefined })
  expect(trustOf(0, undefined)).toEqual({ uids: [0] })
  expect(trustOf(0, "1000")).toEqual({ uids: [0, 1000] })
  for (const odd of ["", "0", "-1", "1e3", "1000 ", "x"]) expect(trustOf(0, odd)).toEqual({ uids: [0] })
})

test("source files are read from the very file that was checked, up to 1 MiB", () => {
  const path = join(directory.path, "plugin.ts")
  const owner = process.geteuid?.() ?? 0
  const trust = { uids: [0, owner] }
  writeFileSync(path, "source", { mode: 0o644 })
  expect(new TextDecoder().decode(readTrusted(path, trust))).toBe("source")
  Bun.spawnSync(["chmod", "0664", path])
  expect(() => readTrusted(path, trust)).toThrow(`${path} can be written by others`)
  expect(new TextDecoder().decode(readTrusted(path, { uids: undefined }))).toBe("source")
  expect(() => readTrusted(path, { uids: [owner + 1] })).toThrow("belongs to uid")
  const large = join(directory.path, "large.ts")
  writeFileSync(large, new Uint8Array(1024 * 1024 + 1))
  expect(() => readTrusted(large, { uids: undefined })).toThrow("is larger than 1 MiB")
})

test("init writes a plugin that type-checks where there is no node_modules, and overwrites nothing", () => {
  const file = join(directory.path, "new/plugin.ts")
  expect(writeStarter(file).map((path) => path.replace(directory.path, ""))).toEqual([
    "/new/plugin.ts",
    "/new/banger.d.ts",
    "/new/.banger",
    "/new/tsconfig.json",
  ])
  const tsc = join(import.meta.dir, "../../../node_modules/.bin/tsc")
  const checked = Bun.spawnSync([tsc, "-p", join(directory.path, "new")])
  expect({ out: checked.stdout.toString(), code: checked.exitCode }).toEqual({ out: "", code: 0 })
  writeFileSync(file, "mine")
  expect(() => writeStarter(file)).toThrow("is there already")
  expect(readFileSync(file, "utf8")).toBe("mine")
  expect(writeStarter(join(directory.path, "new/second.ts"))).toHaveLength(3)
  mkdirSync(join(directory.path, "other"))
  writeFileSync(join(directory.path, "other/banger.d.ts"), "mine")
  expect(() => writeStarter(join(directory.path, "other/plugin.ts"))).toThrow("is not the file banger writes")
  expect(existsSync(join(directory.path, "other/plugin.ts"))).toBe(false)
  for (const bad of ["plugin.js", "plugin", "dir/"])
    expect(() => writeStarter(join(directory.path, bad))).toThrow("must end in .ts")
})
