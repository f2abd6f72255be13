import { expect, test } from "bun:test"
import { copyFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, fixture, until } from "../system/support/banger.ts"
import { processesOf, records } from "../system/support/place.ts"
import { killed, listed, noted } from "../system/support/vms.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot, bootWords } from "./support/vms.ts"

const place = eachOnDoubles()

test("restart runs the same again under the same name, with a new id", async () => {
  const { id } = await boot(place)
  expect(await banger(place, ["restart", "double"])).toMatchObject({ stdout: "double\n", exit: 0 })
  const [again] = await listed(place)
  expect(again).toMatchObject({ name: "double", state: "running" })
  expect(again?.id).not.toBe(id)
  expect((await banger(place, ["rm", "-f", "double"])).exit).toBe(0)
})

test("restart leaves a VM running whose plugin can no longer be run", async () => {
  const plugin = join(place.dir, "plugin.ts")
  copyFileSync(fixture("double"), plugin)
  const words = bootWords(place).map((word) => (word === fixture("double") ? plugin : word))
  expect((await banger(place, words)).exit).toBe(0)
  const before = await listed(place)
  writeFileSync(plugin, "no plugin")
  const { stderr, exit } = await banger(place, ["restart", "double"])
  expect(stderr).toContain("double is left as it is")
  expect(exit).toBe(2)
  // But for how long it has been running.
  const still = before.map((vm) => ({ ...vm, runningForMs: expect.any(Number) }))
  expect(await listed(place)).toEqual(still)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
})

test("a VM that fails is booted again so many times as its policy says, and no more", async () => {
  await boot(place, { restart: { policy: "on-failure", limit: 2, delay: "20ms" } })
  const seen = new Set<number>()
  for (let round = 1; round <= 3; round++) {
    await until(() => noted(place, "booted").length === round)
    const [pid = 0] = processesOf(place)
    seen.add(pid)
    await killed(pid)
    await until(() => noted(place, "ended").length === round)
  }
  expect(seen.size).toBe(3)
  await until(() => records(place).every(({ state }) => state === "failed"))
  expect(noted(place, "booted")).toHaveLength(3)
  expect(records(place)).toHaveLength(3)
})

test("a VM whose guest ends well by itself is booted again where the policy is always, and not on-failure", async () => {
  for (const policy of ["on-failure", "always"]) {
    const { id } = await boot(place, { name: policy, restart: { policy, delay: "1ms" } })
    await restartGuest(id)
    await until(() => noted(place, "ended").includes(id))
  }
  await until(() => noted(place, "booted").length === 3)
  expect(await listed(place)).toMatchObject([{ name: "always", state: "running" }])
  expect((await banger(place, ["stop", "always"])).exit).toBe(0)
})

/** As a guest does that its own user restarts: Firecracker ends then. */
async function restartGuest(id: string): Promise<void> {
  const unix = join(place.runtime, id, "api.sock")
  const body = JSON.stringify({ action_type: "SendCtrlAltDel" })
  expect((await fetch("http://localhost/actions", { unix, method: "PUT", body })).status).toBe(204)
}

test("a VM whose supervisor was killed, and that another took over, is booted again as its policy says", async () => {
  const { id, pid, supervisor } = await boot(place, { restart: { policy: "always", delay: "20ms" } })
  await killed(supervisor)
  expect((await banger(place, ["supervise", "--detach", "double"])).exit).toBe(0)
  await killed(pid)
  await until(() => noted(place, "booted").length === 2)
  await until(() => records(place).filter(({ state }) => state === "running").length === 1)
  const [again] = (await listed(place)).filter(({ liveness }) => liveness === "alive")
  expect(again?.id).not.toBe(id)
  expect((await banger(place, ["stop", again?.id ?? ""])).exit).toBe(0)
  expect(noted(place, "ended").toSorted()).toEqual([id, again?.id ?? ""].toSorted())
  await until(() => records(place).every(({ state }) => ["stopped", "failed"].includes(state)))
})
