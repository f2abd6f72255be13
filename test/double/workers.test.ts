import { expect, test } from "bun:test"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, start, until } from "../system/support/banger.ts"
import { kernelOf } from "../system/support/doubles.ts"
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

test.each([
  ["only names its VM is watched by no thread", "", 0],
  ["has code of its own is watched by one", "console.log(1)", 1],
] as const)("a plugin that %s", async (_, code, count) => {
  const path = join(place.dir, "plugin.ts")
  const spec = JSON.stringify({ ...place.spec, kernel: kernelOf(place.dir, "PRINT[up]"), vmm: "firecracker" })
  writeFileSync(path, `export default ${spec}\n${code}\n`, { mode: 0o600 })
  const running = start(place, ["run", path])
  await running.shows("up")
  // From source, banger's own modules are loaded after the plugin as if they were its.
  const expected = place.program.length === 1 ? count : 1
  expect(threadsOf(running.pid).filter((name) => name === "Worker")).toHaveLength(expected)
  running.signal("SIGTERM")
  await running.ended
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
