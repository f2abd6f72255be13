import { expect } from "bun:test"
import { copyFileSync, readdirSync, renameSync } from "node:fs"
import { join } from "node:path"
import { banger, environmentOf, until } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf } from "./support/place.ts"
import { doubleWords, isAlive, listed, noted, runDouble } from "./support/vms.ts"

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()
const [binary = ""] = place.program

onBoth(
  "run --detach prints the name and returns; nobody who reads its output waits for the VM; stop ends both",
  async () => {
    // `banger` reads both outputs to their end: a descriptor of them left in the supervisor would hold it here.
    const { stdout, exit } = await runDouble(place, firecracker)
    expect({ stdout, exit }).toEqual({ stdout: "double\n", exit: 0 })
    const [vm] = await listed(place)
    expect(vm).toMatchObject({ name: "double", state: "running", liveness: "alive", pid: processesOf(place)[0] })
    const links = readdirSync(`/proc/${vm?.supervisor}/fd`)
    expect(links.length).toBeGreaterThan(3)
    expect((await banger(place, ["logs", "double", "--supervisor"])).exit).toBe(0)
    expect((await banger(place, ["stop", "double"])).exit).toBe(0)
    expect(processesOf(place)).toEqual([])
    await until(() => !isAlive(vm?.supervisor))
    expect(noted(place, "ended")).toEqual([vm?.id ?? ""])
  },
)

onBoth("the binary is replaced while VMs run: nothing changes for them, and the new one stops them", async () => {
  const old = join(place.dir, "banger")
  copyFileSync(binary, old)
  const run = Bun.spawnSync([old, ...doubleWords(place, ["--detach"])], {
    env: { ...environmentOf(place), ...firecracker.env },
  })
  expect(run.stdout.toString()).toBe("double\n")
  const [vm] = await listed(place)
  copyFileSync(binary, `${old}.new`)
  renameSync(`${old}.new`, old)
  expect(await listed(place)).toEqual([{ ...vm, runningForMs: expect.any(Number) }] as never)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  expect(noted(place, "ended")).toEqual([vm?.id ?? ""])
})
