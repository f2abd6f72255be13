import { expect, test } from "bun:test"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, start } from "./support/banger.ts"
import { doublesOfFile } from "./support/doubles.ts"
import { commandThing, keepingWords, loopsGo, loopsOf, madeImage } from "./support/keeping.ts"
import { eachInItsPlace, type Place, records } from "./support/place.ts"
import { killed, listed } from "./support/vms.ts"

// banger is killed at every moment at which it changes something, with a VM that keeps things; so is the sweep that puts it in order.

const doubles = doublesOfFile()
const place = eachInItsPlace()
loopsGo(place)
const killDisk = join(import.meta.dir, "../fixtures/killDisk.ts")

const things = (at: Place) => [commandThing(at, "one"), { kind: "loop", file: madeImage(at) }, commandThing(at, "two")]

/** Runs banger from source with these words, to its end or to the moment it is killed at. Returns how many moments it came to. */
async function kill(
  at: Place,
  words: readonly string[],
  moment: number,
): Promise<{ reached: number; exit: number | null; stderr: string }> {
  const moments = join(at.dir, "moments")
  writeFileSync(moments, "")
  const env = {
    ...doubles.env,
    ...{ BANGER_TEST_KILL_AT: String(moment), BANGER_TEST_MOMENTS: moments, BANGER_TEST_FROM: ".lock" },
  }
  const { exit, stderr } = await start(at, words, env, { through: [process.execPath, killDisk], self: false }).ended
  return { reached: readFileSync(moments, "utf8").split("\n").length - 1, exit, stderr }
}

const isDone = (at: Place) =>
  records(at).every(({ handles, state }) => handles === "[]" && ["stopped", "failed"].includes(state))

/** Sweeps until all is over: a guest that runs comes to its end by itself. */
async function expectOrder(at: Place, label: string): Promise<void> {
  for (let tries = 0; tries < 30; tries++) {
    expect(await banger(at, ["sweep", "--grace", "0s"]), label).toMatchObject({ exit: 0 })
    if (isDone(at)) break
    await Bun.sleep(100)
  }
  expect(isDone(at), label).toBe(true)
  expect(loopsOf(at), label).toEqual([])
  // What the plugin was about to make is not there, what it had made was given back.
  for (const name of ["one", "two"]) expect(existsSync(join(at.dir, name)), label).toBe(false)
}

test("a start and an end that are killed at any moment leave nothing that a sweep does not give back", async () => {
  const words = (at: Place) => keepingWords(at, things(at), { flags: [], script: "RESET PRINT[up]" })
  const whole = await kill(place, words(place), 0)
  expect(whole).toMatchObject({ exit: 0 })
  expect(readFileSync(join(place.dir, "moments"), "utf8")).toContain("ioctl LOOP_CONFIGURE")
  expect(readFileSync(join(place.dir, "moments"), "utf8")).toContain("ioctl LOOP_CLR_FD")
  await expectOrder(place, "whole")
  let next = 1
  let killedCount = 0
  const worker = async (name: string) => {
    const dir = join(place.dir, name)
    mkdirSync(dir)
    const at = { ...place, dir, state: join(dir, "state"), runtime: join(dir, "run") }
    while (next <= whole.reached) {
      const moment = next++
      if ((await kill(at, words(at), moment)).exit === null) killedCount++
      await expectOrder(at, `moment ${moment}`)
    }
  }
  await Promise.all([worker("a"), worker("b")])
  expect(killedCount).toBeGreaterThan(whole.reached - 6)
}, 300_000)

test("a sweep that is killed at any moment is gone on with by the next", async () => {
  const words = keepingWords(place, things(place))
  for (let moment = 1; ; moment++) {
    expect(await banger(place, words, { ...doubles.env })).toMatchObject({ exit: 0 })
    const [vm] = await listed(place)
    await killed(vm?.supervisor)
    await killed(vm?.pid)
    const { reached } = await kill(place, ["rm", vm?.id ?? ""], moment)
    await expectOrder(place, `moment ${moment}`)
    if (reached < moment) {
      expect(moment).toBeGreaterThan(10)
      break
    }
  }
}, 300_000)
