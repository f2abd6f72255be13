import { expect, test } from "bun:test"
import { banger, start } from "../system/support/banger.ts"
import { killed, listed, noted } from "../system/support/vms.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot, bootUnsupervised } from "./support/vms.ts"

const place = eachOnDoubles()

test.each([
  ["with", boot],
  ["without", bootUnsupervised],
] as const)("wait is told of the end of a VM %s a supervisor, and finds it finished", async (_, run) => {
  const { id, pid } = await run(place)
  const waiting = start(place, ["wait", "--json", "double"])
  await Bun.sleep(150)
  await killed(pid)
  const { stdout, exit } = await waiting.ended
  const error = { code: "VM_FAILED", exit: 1 }
  expect(JSON.parse(stdout)).toMatchObject({ state: "failed", exit: { requested: false }, error })
  expect(exit).toBe(1)
  expect(noted(place, "ended")).toEqual([id])
})

test("wait for a VM that was stopped is a success, also when that is long ago; for none it is a failure", async () => {
  await boot(place)
  const waiting = start(place, ["wait", "double"])
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  expect(await waiting.ended).toMatchObject({ stdout: expect.stringContaining("guest reset"), exit: 0 })
  expect(await banger(place, ["wait", "double"])).toMatchObject({ exit: 0 })
  expect((await banger(place, ["wait", "nothing"])).exit).toBe(1)
})

test.each([
  ["with", boot],
  ["without", bootUnsupervised],
] as const)("wait has a time limit, after which a VM %s a supervisor runs on", async (_, run) => {
  await run(place)
  const { stdout, stderr, exit } = await banger(place, ["wait", "--timeout", "300ms", "double"])
  expect({ stdout, exit }).toEqual({ stdout: "", exit: 124 })
  expect(stderr).toContain("still runs after 300ms")
  expect((await listed(place)).map(({ state, liveness }) => ({ state, liveness }))).toEqual([
    { state: "running", liveness: "alive" },
  ])
  const ending = start(place, ["wait", "--timeout", "1m", "double"])
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  expect((await ending.ended).exit).toBe(0)
})
