import { expect, test } from "bun:test"
import { readdirSync, readFileSync } from "node:fs"
import { banger, start, until } from "../system/support/banger.ts"
import { records } from "../system/support/place.ts"
import { eachOnDoubles } from "./support/place.ts"
import { bootUnsupervised, heldWords, hold, hooksOf } from "./support/vms.ts"

// No import leads to these threads' modules: in a binary, which scripts/test tries here, only their paths find them.

const place = eachOnDoubles()

test("the watching thread runs: it ends a hook that blocks all else, and cleans up", async () => {
  hold(place, "postBoot blocked")
  const words = heldWords(place, { flags: [], timeouts: { hook: "100ms" } })
  const { stderr, exit } = await banger(place, words)
  expect(stderr).toContain("postBoot did not finish in 100ms and blocks everything else")
  expect(exit).not.toBe(0)
  expect(hooksOf(place)).toEqual(["preBoot", "postBoot"])
  expect(records(place)).toMatchObject([{ state: "failed" }])
})

test("the thread that waits for the end of another's child runs: nobody has to look again and again", async () => {
  const { id } = await bootUnsupervised(place)
  const waiting = start(place, ["wait", id])
  await until(() => threadsOf(waiting.pid).includes("Worker"))
  // One whose module is not found ends at once, and the wait goes on by looking.
  await Bun.sleep(300)
  expect(threadsOf(waiting.pid)).toContain("Worker")
  expect((await banger(place, ["kill", id])).exit).toBe(0)
  await waiting.ended
})

function threadsOf(pid: number): readonly string[] {
  const tasks = readdirSync(`/proc/${pid}/task`)
  return tasks.map((task) => readFileSync(`/proc/${pid}/task/${task}/comm`, "utf8").trimEnd())
}
