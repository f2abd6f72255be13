import { expect } from "bun:test"
import { banger, bangerElsewhere } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace } from "./support/place.ts"
import { runDouble } from "./support/vms.ts"

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

onBoth("a VM of another PID namespace is not attached to", async () => {
  await runDouble(place, firecracker, ["--supervise=none"])
  const { stderr, exit } = await bangerElsewhere(place, ["attach", "double"])
  expect(stderr).toContain("it was started in another PID namespace")
  expect(stderr).toContain("got no supervisor: not attached")
  expect(exit).toBe(1)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
})
