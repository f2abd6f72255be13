import { expect, test } from "bun:test"
import { copyFileSync, existsSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, start, until } from "./support/banger.ts"
import { kernelOf } from "./support/doubles.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { doubleWords, killed, listed, noted, runDouble, signal } from "./support/vms.ts"

// A VM is handed from one banger to another while it runs.

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

const wordsOf = (pid: number | undefined) => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
const programOf = (pid: number | undefined) => readlinkSync(`/proc/${pid}/exe`)

async function booted(...flags: readonly string[]) {
  expect(await runDouble(place, firecracker, ["--detach", ...flags])).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  if (vm?.supervisor === undefined) throw new Error("it has no supervisor")
  return { ...vm, supervisor: vm.supervisor }
}

async function resting() {
  const vm = await booted()
  await until(() => wordsOf(vm.supervisor).includes("__rest"))
  return vm
}

/** A banger of another file. */
function another() {
  const path = join(place.dir, "another")
  copyFileSync(place.program[0] ?? "", path)
  return {
    path,
    run: (...args: readonly string[]) =>
      start(place, args, { ...firecracker.env }, { through: [path], self: false }).ended,
  }
}

onBoth(
  "a supervisor that rests becomes the other banger: same process, same guest, its end known, hooks once",
  async () => {
    const { id, pid, supervisor } = await resting()
    const other = another()
    expect(await other.run("supervise", "--upgrade", "double")).toMatchObject({
      stdout: "double\n",
      stderr: expect.stringContaining("double: its supervisor is this banger now"),
      exit: 0,
    })
    expect(programOf(supervisor)).toBe(other.path)
    expect(processesOf(place)).toEqual([Number(pid)])
    expect(await listed(place)).toMatchObject([{ id, pid, supervisor, state: "running" }])
    expect(await other.run("supervise", "--upgrade", id)).toMatchObject({
      stderr: expect.stringContaining("is this banger already"),
      exit: 0,
    })
    // The VMM is still its child.
    await killed(pid ?? 0)
    await until(() => records(place)[0]?.state === "failed")
    const { stdout } = await banger(place, ["inspect", id])
    expect(JSON.parse(stdout).exit).toMatchObject({ reason: "killed", signal: "SIGKILL" })
    expect(noted(place, "booted")).toEqual([id])
    expect(noted(place, "ended")).toEqual([id])
  },
)

test("handed to and fro; the first program may be gone by then, and a stop is heard at once", async () => {
  const { pid, supervisor } = await resting()
  const other = another()
  for (let round = 0; round < 5; round++) {
    expect(await other.run("supervise", "--upgrade", "double")).toMatchObject({ exit: 0 })
    expect(await banger(place, ["supervise", "--upgrade", "double"])).toMatchObject({ exit: 0 })
  }
  expect(await other.run("supervise", "--upgrade", "double")).toMatchObject({ exit: 0 })
  expect(processesOf(place)).toEqual([Number(pid)])
  rmSync(other.path)
  const stopped = banger(place, ["stop", "double"])
  signal(supervisor, "SIGHUP")
  expect(await stopped).toMatchObject({ exit: 0 })
  expect(noted(place, "ended").length).toBe(1)
})

test("a request that is none, or of no program, changes nothing", async () => {
  const { id, supervisor } = await resting()
  const before = programOf(supervisor)
  const request = join(place.state, "vms", id, "handover.json")
  for (const text of ["", "{", "{}", "[]", '["relative"]', "[1]", '["/nowhere"]', `["/${"x".repeat(20_000)}"]`]) {
    writeFileSync(request, text)
    signal(supervisor, "SIGHUP")
    await until(() => !existsSync(request) || statSync(request).size > 16 * 1024)
    await Bun.sleep(20)
    expect(programOf(supervisor)).toBe(before)
    expect(wordsOf(supervisor)).toContain("__rest")
  }
  rmSync(request, { force: true })
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
})

test("a run in the background that watches a VM which ran already is replaced as well", async () => {
  const { id, pid, supervisor } = await booted()
  await killed(supervisor)
  const { supervisor: watcher } = await booted()
  const other = another()
  expect(await other.run("supervise", "--upgrade", "double")).toMatchObject({
    stderr: expect.stringContaining("it has another supervisor now"),
    exit: 0,
  })
  const [next] = await listed(place)
  expect(next).toMatchObject({ id, pid, state: "running" })
  expect(next?.supervisor).not.toBe(watcher)
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
  expect(noted(place, "booted")).toEqual([id])
  expect(noted(place, "ended")).toEqual([id])
})

test("without a supervisor it gets one; one that was started for it later is replaced", async () => {
  const { id, pid, supervisor } = await booted()
  await killed(supervisor)
  expect(await banger(place, ["supervise", "--upgrade", "double"])).toMatchObject({
    stderr: expect.stringContaining("it has a supervisor now"),
    exit: 0,
  })
  const [vm] = await listed(place)
  const other = another()
  expect(await other.run("supervise", "--upgrade", "double")).toMatchObject({
    stderr: expect.stringContaining("it has another supervisor now"),
    exit: 0,
  })
  const [next] = await listed(place)
  expect(next).toMatchObject({ id, pid })
  expect(next?.supervisor).not.toBe(vm?.supervisor)
  expect(programOf(next?.supervisor)).toBe(other.path)
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
  expect(noted(place, "ended")).toEqual([id])
})

test("one in the foreground is told of; one that has ended is no VM to hand over", async () => {
  kernelOf(place.dir)
  // Its plugin's own words are those of banger in the background.
  const own = ["__rest", "__supervise", "__run"]
  const run = start(place, [...doubleWords(place, []), ...own], { ...firecracker.env })
  await run.shows("up")
  await until(() => records(place)[0]?.state === "running")
  const other = another()
  const refused = await other.run("supervise", "--upgrade", "double")
  expect(refused.stderr).toContain(`process ${run.pid}, runs in the foreground`)
  expect(refused.exit).toBe(1)
  expect(await listed(place)).toMatchObject([{ supervisor: run.pid, state: "running" }])
  run.signal("SIGINT")
  await run.ended
  const [{ id } = { id: "" }] = records(place)
  expect((await other.run("supervise", "--upgrade", id)).stderr).toContain("has ended")
})
