import { expect } from "bun:test"
import { banger, until } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, records } from "./support/place.ts"
import { killed, listed, noted, runDouble, signal } from "./support/vms.ts"

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

onBoth("restart runs the same again under the same name, with a new id", async () => {
  await runDouble(place, firecracker)
  const [vm] = await listed(place)
  const { stdout, exit } = await banger(place, ["restart", "double"], { ...firecracker.env })
  expect({ stdout, exit }).toEqual({ stdout: "double\n", exit: 0 })
  const [again] = await listed(place)
  expect(again).toMatchObject({ name: "double", state: "running" })
  expect(again?.id).not.toBe(vm?.id)
  expect((await banger(place, ["rm", "-f", "double"])).exit).toBe(0)
})

onBoth("a VM whose supervisor was killed, and that another took over, is booted again as its policy says", async () => {
  await runDouble(place, firecracker, ["--detach"], "PRINT[up]", { restart: { policy: "always", delay: "50ms" } })
  const [vm] = await listed(place)
  await killed(vm?.supervisor)
  expect((await banger(place, ["supervise", "--detach", "double"], { ...firecracker.env })).exit).toBe(0)
  signal(vm?.pid, "SIGKILL")
  await until(() => noted(place, "booted").length === 2)
  await until(() => records(place).filter(({ state }) => state === "running").length === 1)
  const [again] = (await listed(place)).filter(({ liveness }) => liveness === "alive")
  expect(again?.id).not.toBe(vm?.id)
  expect((await banger(place, ["stop", again?.id ?? ""])).exit).toBe(0)
  expect(noted(place, "ended").toSorted()).toEqual([vm?.id ?? "", again?.id ?? ""].toSorted())
  await until(() => records(place).every(({ state }) => ["stopped", "failed"].includes(state)))
})
