import { expect, test } from "bun:test"
import { mkdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { banger, start, until } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf } from "./support/place.ts"
import { listed, noted, runDouble } from "./support/vms.ts"

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

test.each([
  ["stop", "rests"],
  ["kill", "rests"],
  ["stop", "may be about to rest"],
  ["kill", "may be about to rest"],
])(
  "the state's disk is full: %s ends a VM through its supervisor all the same, which %s",
  async (command, supervisorDoes) => {
    // The place is the next test's, where this one runs out of time.
    const { state } = place
    mkdirSync(state, { mode: 0o700 })
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=4M,mode=700", "small", state]).exitCode).toBe(0)
    try {
      await runDouble(place, firecracker)
      const [vm] = await listed(place)
      const resting = () => readFileSync(`/proc/${vm?.supervisor}/cmdline`, "utf8").includes("__rest")
      if (supervisorDoes === "rests") await until(resting)
      // Whoever looks meanwhile must not take itself for the last one that has the state open.
      await listed(place)
      const filler = join(state, "filler")
      Bun.spawnSync(["dd", "if=/dev/zero", `of=${filler}`, "bs=4k", "count=2048"], { stderr: "ignore" })
      const ending = start(place, [command, "double"])
      await until(() => processesOf(place).length === 0)
      rmSync(filler)
      expect((await ending.ended).stderr).not.toContain("ENOSPC")
      expect((await banger(place, ["stop", "double"])).exit).toBe(0)
      expect(noted(place, "ended").length).toBeGreaterThan(0)
    } finally {
      Bun.spawnSync(["umount", "--lazy", state])
    }
  },
)

onBoth(
  "a VM that ends and is booted again without end is stopped by one stop, at whatever moment that comes",
  async () => {
    for (let round = 0; round < (firecracker.real ? 5 : 15); round++) {
      const name = `loop-${round}`
      const restart = { policy: "always", limit: 1000, delay: "1ms" }
      await runDouble(place, firecracker, ["--detach"], "RESET PRINT[up]", { name, restart })
      await Bun.sleep(Math.random() * 400)
      expect((await banger(place, ["stop", name])).exit).toBe(0)
      expect(await listed(place)).toEqual([])
    }
    expect(noted(place, "ended").toSorted()).toEqual([...new Set(noted(place, "ended"))].toSorted())
    const ended = new Set(noted(place, "ended"))
    expect(noted(place, "booted").filter((id) => !ended.has(id))).toEqual([])
  },
)
