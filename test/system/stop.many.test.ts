import { beforeAll, expect, test } from "bun:test"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { banger, fixture, start, until } from "./support/banger.ts"
import { buildDoubles, type Doubles } from "./support/doubles.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { doubleWords, listed, noted, runDouble } from "./support/vms.ts"

// Several that ask for the end of one VM, one that asks for the end of several, and one that asks for its own.

let doubles: Doubles
beforeAll(() => {
  doubles = buildDoubles(mkdtempSync("/run/banger-doubles-"))
})
const place = eachInItsPlace()
const binary = join(import.meta.dir, "../../dist/banger")

test("one command ends many VMs that have no supervisor, each with the hooks of its own plugin", async () => {
  for (const command of ["stop", "kill", "rm"]) {
    for (const name of ["one", "two"]) await runDouble(place, doubles, ["--supervise=none"], "PRINT[up]", { name })
    const ids = (await listed(place)).map(({ id }) => id)
    expect(ids).toHaveLength(2)
    const words = command === "rm" ? ["rm", "-f", "one", "two"] : [command, "one", "two"]
    const { stderr, exit } = await banger(place, words)
    expect({ command, stderr, exit }).toMatchObject({ exit: 0 })
    expect(stderr).not.toContain("hooks are not run")
    expect(processesOf(place)).toEqual([])
    for (const id of ids) expect(noted(place, "ended").filter((one) => one === id)).toHaveLength(1)
  }
  const { stderr, exit } = await banger(place, ["stop", "nothing", "neither"])
  expect(stderr).toMatch(/no VM "nothing"[\s\S]*no VM "neither"/)
  expect(exit).toBe(2)
})

test("two that stop a VM give its guest the time that one would; a shorter limit of the second holds; kill is at once", async () => {
  const spec = { timeouts: { stop: "2s" } }
  const said = async () => (await banger(place, ["logs", "--supervisor", "double"])).stdout
  const stopped = (words: readonly string[]) => start(place, words)
  await runDouble(place, doubles, ["--detach"], "DEAF PRINT[up]", spec)
  const both = [stopped(["stop", "double"]), stopped(["stop", "double"])]
  for (const { ended } of both) expect((await ended).exit).toBe(0)
  expect(await said()).toContain("the guest did not stop in 2s")
  expect(await said()).not.toContain("stopping at once")
  await runDouble(place, doubles, ["--detach"], "DEAF PRINT[up]", { timeouts: { stop: "10m" } })
  const patient = stopped(["stop", "double"])
  await until(() => records(place).some(({ state }) => state === "stopping"))
  expect((await banger(place, ["stop", "--timeout=100ms", "double"])).exit).toBe(0)
  expect((await patient.ended).exit).toBe(0)
  await runDouble(place, doubles, ["--detach"], "DEAF PRINT[up]", { timeouts: { stop: "10m" } })
  const waiting = stopped(["stop", "double"])
  await until(() => records(place).some(({ state }) => state === "stopping"))
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  expect((await waiting.ended).exit).toBe(0)
})

test.each(["stop", "kill"])(
  "the state's disk is full: %s ends a VM through its supervisor all the same",
  async (command) => {
    mkdirSync(place.state, { mode: 0o700 })
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=4M,mode=700", "small", place.state]).exitCode).toBe(0)
    try {
      await runDouble(place, doubles)
      const filler = join(place.state, "filler")
      Bun.spawnSync(["dd", "if=/dev/zero", `of=${filler}`, "bs=4k"], { stderr: "ignore" })
      const ending = start(place, [command, "double"])
      await until(() => processesOf(place).length === 0)
      rmSync(filler)
      expect((await ending.ended).stderr).not.toContain("ENOSPC")
      expect((await banger(place, ["stop", "double"])).exit).toBe(0)
      expect(noted(place, "ended").length).toBeGreaterThan(0)
    } finally {
      Bun.spawnSync(["umount", "--lazy", place.state])
    }
  },
)

test.each([
  ["postBoot", "wait"],
  ["postBoot", "logs -f"],
  ["preStop", "stop"],
  ["preStop", "attach"],
  ["postStop", "kill"],
  ["postStop", "rm -f"],
  ["postStop", "restart"],
])("%s calls `banger %s` on its own VM: that is refused by name", async (hook, words) => {
  const plugin = ["run", "--detach", fixture("calling"), "--", place.dir, hook, binary, ...words.split(" ")]
  expect(await banger(place, plugin, { ...doubles.env })).toMatchObject({ exit: 0 })
  const [vm] = records(place)
  expect((await banger(place, ["stop", "calling"])).exit).toBe(0)
  const { exit, said } = JSON.parse(readFileSync(join(place.dir, "called"), "utf8"))
  expect(said).toContain(`calling (${vm?.id}) cannot be waited for here`)
  expect(exit).toBe(1)
  expect(records(place)).toHaveLength(1)
})

test("what a hook's processes print is no report of the VM, and one that stays holds nobody up", async () => {
  const run = (what: string) =>
    banger(place, ["run", "--detach", fixture("calling"), "--", place.dir, "preBoot", what], { ...doubles.env })
  expect(await run("print")).toMatchObject({ stdout: "calling\n", exit: 0 })
  expect((await banger(place, ["logs", "--supervisor", "calling"])).stdout).toContain("not the report")
  expect((await banger(place, ["stop", "calling"])).exit).toBe(0)
  const refused = await run("refuse")
  expect(refused).toMatchObject({ stdout: "", exit: 1 })
  expect(refused.stderr).toContain("preBoot threw: refused")
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name))
  const stays = pids.filter((pid) => cmdlineOf(pid) === "sleep\x00600\x00" && outputOf(pid).startsWith(place.state))
  expect(stays).toHaveLength(1)
  for (const pid of stays) process.kill(Number(pid), "SIGKILL")
})

test("a supervisor that is stopped itself: who asks for the VM's end is told, and gets it when the supervisor goes on", async () => {
  await runDouble(place, doubles)
  const [vm] = await listed(place)
  process.kill(vm?.supervisor ?? 0, "SIGSTOP")
  const stopping = start(place, ["stop", "double"])
  await stopping.shows(`kill -CONT ${vm?.supervisor}`)
  process.kill(vm?.supervisor ?? 0, "SIGCONT")
  expect((await stopping.ended).exit).toBe(0)
})

test("a VM that has just ended, and would be booted again, is not once its stop is asked for", async () => {
  // Nobody reads: the supervisor waits for that when the VM has ended, and has not said yet that it boots another.
  const words = doubleWords(place, [], `PRINT[${"x".repeat(300)}]`, { restart: { policy: "always", delay: "10ms" } })
  const fifo = join(place.dir, "fifo")
  Bun.spawnSync(["mkfifo", fifo])
  const { openSync, closeSync, writeSync, constants } = await import("node:fs")
  const reader = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK)
  try {
    for (;;) writeSync(reader, "y".repeat(4096))
  } catch {
    // Full.
  }
  const running = start(place, words, { ...doubles.env }, { stdout: reader })
  await until(() => noted(place, "booted").length === 1)
  for (const pid of processesOf(place)) process.kill(pid, "SIGKILL")
  await until(() => records(place).every(({ state }) => state === "failed"))
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  closeSync(reader)
  await running.ended
  expect(noted(place, "booted")).toHaveLength(1)
  expect(records(place)).toHaveLength(1)
})

test("a VM that ends and is booted again without end is stopped by one stop, at whatever moment that comes", async () => {
  for (let round = 0; round < 15; round++) {
    const name = `loop-${round}`
    const restart = { policy: "always", limit: 1000, delay: "1ms" }
    await runDouble(place, doubles, ["--detach"], "RESET PRINT[up]", { name, restart })
    await Bun.sleep(Math.random() * 400)
    expect((await banger(place, ["stop", name])).exit).toBe(0)
    expect(await listed(place)).toEqual([])
  }
  expect(noted(place, "ended").toSorted()).toEqual([...new Set(noted(place, "ended"))].toSorted())
  const ended = new Set(noted(place, "ended"))
  expect(noted(place, "booted").filter((id) => !ended.has(id))).toEqual([])
})

test("a supervisor that boots VM after VM keeps nothing of them open", async () => {
  await runDouble(place, doubles, ["--detach"], "PRINT[up]", {
    restart: { policy: "always", limit: 100, delay: "5ms" },
  })
  const counts: number[] = []
  for (let round = 1; round <= 8; round++) {
    await until(() => noted(place, "booted").length === round)
    const [vm] = (await listed(place)).filter(({ liveness }) => liveness === "alive")
    counts.push(readdirSync(`/proc/${vm?.supervisor}/fd`).length)
    process.kill(vm?.pid ?? 0, "SIGKILL")
  }
  expect(Math.max(...counts.slice(2))).toBeLessThanOrEqual((counts[1] ?? 0) + 2)
  await until(() => noted(place, "booted").length === 9)
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  expect(await listed(place)).toEqual([])
})

function cmdlineOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1")
  } catch {
    // It has ended.
    return ""
  }
}

function outputOf(pid: string): string {
  try {
    const { readlinkSync } = require("node:fs")
    return readlinkSync(`/proc/${pid}/fd/1`)
  } catch {
    // It has ended.
    return ""
  }
}
