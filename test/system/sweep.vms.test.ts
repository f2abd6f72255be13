import { expect } from "bun:test"
import { banger } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf } from "./support/place.ts"
import { killed, listed, noted, runDouble } from "./support/vms.ts"

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

onBoth(
  "a sweep without a directory finishes dead VMs with their postStop hooks, once, and leaves living ones running",
  async () => {
    for (const name of ["lives", "dies"]) {
      expect((await runDouble(place, firecracker, ["--supervise=none", "--name", name])).exit).toBe(0)
    }
    const [dies, lives] = await listed(place)
    await killed(dies?.pid)
    const dry = await banger(place, ["sweep", "--dry-run"])
    expect(dry.stderr).toContain("1 dead VM would be recovered")
    const first = await banger(place, ["sweep", "--json"])
    expect(first.stderr).toContain("1 dead VM recovered")
    expect(first.exit).toBe(0)
    expect(
      JSON.parse(first.stdout)
        .vms.map(({ name, is }: { name: string; is: string }) => `${name} ${is}`)
        .sort(),
    ).toEqual(["dies recovered", "lives alive"])
    expect(noted(place, "ended")).toEqual([dies?.id ?? ""])
    expect(processesOf(place)).toEqual([lives?.pid ?? 0])
    expect(await banger(place, ["sweep", "--quiet"])).toEqual({ exit: 0, stdout: "", stderr: "" })
    expect((await banger(place, ["kill", "lives"])).exit).toBe(0)
  },
)
