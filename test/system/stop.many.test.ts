import { expect, test } from "bun:test"
import { mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { banger, start, until } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf } from "./support/place.ts"
import { listed, noted, runDouble } from "./support/vms.ts"

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

test.each(["stop", "kill"])(
  "the state's disk is full: %s ends a VM through its supervisor all the same",
  async (command) => {
    mkdirSync(place.state, { mode: 0o700 })
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=4M,mode=700", "small", place.state]).exitCode).toBe(0)
    try {
      await runDouble(place, firecracker)
      const filler = join(place.state, "filler")
      Bun.spawnSync(["dd", "if=/dev/zero", `of=${filler}`, "bs=4k"], { stderr: "ignore" })
      const ending = start(place, [command, "double"])
      await until(() => processesOf(place).length === 0)
      rmSync(filler)
      expect((await ending.ended).stderr).not.toContain("ENOSPC")
      expect((await banger(place, ["stop", "double"])).exit).toBe(0)
      expect(noted(place, "ended").length).toBeGreaterThan(0)
    } finally {
      Bun.spawnSync(["umount", "--lazy", place.state])
    }
  },
)

onBoth(
  "a VM that ends and is booted again without end is stopped by one stop, at whatever moment that comes",
  async () => {
    for (let round = 0; round < 15; round++) {
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
