import { expect, test } from "bun:test"
import { rmSync } from "node:fs"
import { join } from "node:path"
import { banger, start, until } from "../system/support/banger.ts"
import { records } from "../system/support/place.ts"
import { killed, listed, noted } from "../system/support/vms.ts"
import { eachOnDoubles } from "./support/place.ts"
import { type Booted, boot, bootHeld, bootWords, hold, hooksOf } from "./support/vms.ts"

// `system boot` and `system shutdown`, where VMs and supervisors have ended as a reset of the host ends them.

const place = eachOnDoubles()
const restart = "always"

async function reset(vms: readonly Booted[]): Promise<void> {
  for (const { supervisor } of vms) await killed(supervisor)
  for (const { pid } of vms) await killed(pid)
}

const names = async () => (await listed(place)).map(({ name, state }) => `${name} ${state}`).sort()

test("a VM is started again when the hooks of those that it is after are done, and not before", async () => {
  const vms = [
    await boot(place, { name: "web", restart, after: ["held", "absent", "other"] }),
    await boot(place, { name: "other", restart: "no" }),
    await bootHeld(place, { restart }),
  ]
  await reset(vms)
  const before = hooksOf(place).length
  hold(place, "postBoot")
  const booting = start(place, ["system", "boot"])
  await until(() => hooksOf(place).slice(before).includes("postBoot"))
  expect(hooksOf(place).slice(before)).toEqual(["postStop", "preBoot", "postBoot"])
  expect(await names()).toEqual(["held running"])
  hold(place, undefined)
  expect((await booting.ended).exit).toBe(0)
  expect(await names()).toEqual(["held running", "web running"])
  expect(noted(place, "ended")).toHaveLength(2)
  expect((await banger(place, ["stop", "--all"])).exit).toBe(0)
})

test("one that is after another that fails is started all the same; a circle is told, and holds up nobody", async () => {
  const vms = [
    await boot(place, { name: "fails", restart, script: "PRINT[fails]" }),
    await boot(place, { name: "a", restart, after: ["b", "fails"] }),
    await boot(place, { name: "b", restart, after: ["a", "b"] }),
  ]
  await reset(vms)
  rmSync(join(place.dir, `vmlinux-${Bun.hash("PRINT[fails]").toString(16)}`))
  const { stderr, exit } = await banger(place, ["system", "boot"])
  expect(exit).toBe(1)
  expect(stderr).toContain("fails was not started again")
  expect(stderr).toContain("b is to start after b, which itself waits for b: b does not wait")
  expect(await names()).toEqual(["a running", "b running"])
  expect((await banger(place, ["system", "shutdown"])).exit).toBe(0)
  expect(records(place).filter(({ state }) => state === "running")).toEqual([])
  expect((await banger(place, ["system", "boot"])).exit).toBe(1)
  expect(await names()).toEqual(["a running", "b running"])
  expect((await banger(place, ["stop", "--all"])).exit).toBe(0)
})

test.each([
  ["a path", "a/b"],
  ["capitals", "A"],
  ["nothing", ""],
  ["a number", 7],
  ["an empty name in a list", [""]],
  ["65 names", Array.from({ length: 65 }, (_, index) => `vm${index}`)],
])("after: %s is refused, by its name, and nothing is made", async (_, after) => {
  const { stderr, exit } = await banger(place, bootWords(place, { after }))
  expect({ stderr, exit }).toMatchObject({ exit: 2, stderr: expect.stringContaining("after") })
  expect(records(place)).toEqual([])
})
