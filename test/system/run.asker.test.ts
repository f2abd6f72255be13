import { expect, test } from "bun:test"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { tinyGuest } from "../tinyGuest.ts"
import { banger } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace } from "./support/place.ts"
import { killed, listed } from "./support/vms.ts"

const { firecracker } = onEachFirecracker()
const place = eachInItsPlace()

test("what root ran for a user by sudo runs again without them, as it was then and no other way", async () => {
  const dir = join(place.dir, "theirs")
  mkdirSync(dir)
  const [kernel, part, plugin, late] = ["vmlinux", "part.ts", "plugin.ts", "late.ts"].map((name) =>
    join(dir, name),
  ) as [string, string, string, string]
  writeFileSync(kernel, tinyGuest("PRINT[up]"))
  writeFileSync(part, `export const name = "theirs"\n`)
  writeFileSync(late, "export {}\n")
  const spec = `{ name, vmm: "firecracker", jail: false, kernel: ${JSON.stringify(kernel)}, restart: "always",
    async postBoot() { await import("./late.ts") } }`
  writeFileSync(
    plugin,
    `import { definePlugin } from "banger"\nimport { name } from "./part.ts"\nexport default definePlugin(${spec})\n`,
  )
  Bun.spawnSync(["chown", "-R", "4242:4242", dir])
  const asRoot = (...words: readonly string[]) => banger(place, words, { ...firecracker.env })
  const asUser = (...words: readonly string[]) => banger(place, words, { ...firecracker.env, SUDO_UID: "4242" })
  const reset = async () => {
    const [vm] = await listed(place)
    await killed(vm?.supervisor ?? undefined)
    await killed(vm?.pid ?? undefined)
  }
  expect(await asUser("run", "--detach", plugin)).toMatchObject({ exit: 0 })
  // Twice: who asked is known of what was run again, too.
  for (let round = 0; round < 2; round++) {
    await reset()
    expect(await asRoot("system", "boot")).toMatchObject({ exit: 0 })
    expect(await listed(place)).toMatchObject([{ name: "theirs", state: "running" }])
  }
  expect(await asRoot("restart", "theirs")).toMatchObject({ exit: 0 })
  await reset()
  writeFileSync(part, `export const name = "theirs" // changed\n`)
  const { stderr, exit } = await asRoot("system", "boot")
  const refused = { exit: 1, stderr: expect.stringContaining("part.ts is not as it was when the VM was booted") }
  expect({ stderr, exit }).toMatchObject(refused)
  expect(await listed(place)).toEqual([])
  // They ask again.
  expect(await asUser("restart", "theirs")).toMatchObject({ exit: 0 })
  expect(await asRoot("stop", "theirs")).toMatchObject({ exit: 0 })
})
