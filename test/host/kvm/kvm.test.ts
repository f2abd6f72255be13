import { expect, test } from "bun:test"
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { MEMORY_BYTES, START, writeProbeGuest } from "../../../src/host/kvm/probeGuest.ts"
import { judgeRounds } from "../../../src/host/kvm/runProbe.ts"
import { tryGuest } from "../../../src/host/kvm/tried.ts"
import { PROGRAM } from "../../program.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const dir = eachInItsDirectory()

test.each([
  ["one quick round", [0.1], { is: "works" }],
  ["a quick one among slow ones", [9, 30, 2.9], { is: "works" }],
  [
    "only slow ones",
    [40, 30, 50],
    { is: "fails", words: "it emulates a guest's instructions one by one, in 1000 ns each" },
  ],
  ["a processor that stops", ["it dies"], { is: "fails", words: "it dies" }],
  ["one that stops after a slow round", [30, "it dies"], { is: "fails", words: "it dies" }],
] as const)("what came of %s", (_, rounds, tried) => expect(judgeRounds(rounds)).toEqual(tried))

test("no round is waited for after a quick one", () => {
  function* rounds(): Generator<number> {
    yield 0.1
    throw new Error("waited")
  }
  expect(judgeRounds(rounds())).toEqual({ is: "works" })
})

test("the guest starts where its processor does", () => {
  const memory = new Uint8Array(MEMORY_BYTES)
  writeProbeGuest(memory)
  expect([...memory.subarray(START.rip, START.rip + 5)]).toEqual([0xb8, 0x20, 0, 0, 0])
  expect(memory.subarray(START.rsp - 0x100, START.rsp).every((byte) => byte === 0)).toBe(true)
})

test("the process that tries says that it begins, and what came of it", () => {
  const start = performance.now()
  const { stdout, stderr, exitCode } = Bun.spawnSync([...PROGRAM, "__kvm"], { env: {}, timeout: 10_000 })
  expect([exitCode, stderr.toString()]).toEqual([0, ""])
  expect(["works", "fails", "unknown"]).toContain(JSON.parse(stdout.toString().trimEnd().split("\n").at(-1) ?? "").is)
  expect(performance.now() - start).toBeLessThan(10_000)
})

const kept = () => JSON.parse(readFileSync(join(dir.path, "kvm.json"), "utf8"))

test("an answer is kept for this boot of the host, and one of another boot is not believed", async () => {
  const file = join(dir.path, "kvm.json")
  await tryGuest(file, "look")
  expect(readdirSync(dir.path)).toEqual([])
  const tried = await tryGuest(file)
  if (tried.is === "unknown") return expect(readdirSync(dir.path)).toEqual([])
  expect(kept()).toMatchObject({ tried })
  const other = { is: "fails", words: "kept" } as const
  writeFileSync(file, JSON.stringify({ ...kept(), tried: other }))
  expect(await tryGuest(file)).toEqual(other)
  for (const stale of [
    { ...kept(), host: "1 other" },
    { ...kept(), untilMs: Date.now() - 1 },
    { ...kept(), more: 1 },
    "x",
  ]) {
    writeFileSync(file, typeof stale === "string" ? stale : JSON.stringify(stale))
    expect(await tryGuest(file)).toEqual(tried)
  }
  expect(kept().tried).toEqual(tried)
  expect(readdirSync(dir.path)).toEqual(["kvm.json"])
})

test("a file that is a symlink is not followed; where nothing can be kept, the answer is the same", async () => {
  const tried = await tryGuest(join(dir.path, "nowhere/kvm.json"))
  const target = join(dir.path, "target")
  symlinkSync(target, join(dir.path, "kvm.json"))
  expect(await tryGuest(join(dir.path, "kvm.json"))).toEqual(tried)
  expect(readdirSync(dir.path)).not.toContain("target")
})
