import { expect, test } from "bun:test"
import { banger, bangerElsewhere } from "./support/banger.ts"
import { doublesOfFile } from "./support/doubles.ts"
import { eachInItsPlace } from "./support/place.ts"
import { runDouble } from "./support/vms.ts"

const doubles = doublesOfFile()
const place = eachInItsPlace()

test("a VM of another PID namespace is not attached to", async () => {
  await runDouble(place, doubles, ["--supervise=none"])
  const { stderr, exit } = await bangerElsewhere(place, ["attach", "double"])
  expect(stderr).toContain("it was started in another PID namespace")
  expect(stderr).toContain("got no supervisor: not attached")
  expect(exit).toBe(1)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
})
