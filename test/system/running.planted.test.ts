import { expect, test } from "bun:test"
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fixture, type Running, start } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildDoubles, kernelOf } from "./support/doubles.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, records } from "./support/place.ts"

// What the VM's uid can put into its jail while a drive changes leads root nowhere: each name there is the VM's own.

const newDirectory = directoriesOfFile()
const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

const rootOf = () => join(place.state, "jail/firecracker", records(place)[0]?.id ?? "", "root")

/** A VM whose hook waits for a file before it changes anything. */
async function waiting(
  calls: readonly unknown[],
  env: Readonly<Record<string, string>> = firecracker.env,
): Promise<Running> {
  const path = join(place.dir, "old.img")
  writeFileSync(path, "o".repeat(4096))
  writeFileSync(join(place.dir, "fresh.img"), "f".repeat(8192))
  const spec = { drives: [{ path, id: "data" }], firecracker: { pci: true } }
  const go = join(place.dir, "go")
  const words = [kernelOf(place.dir, "PRINT[up]"), JSON.stringify(spec), JSON.stringify(calls), go]
  const run = start(place, ["run", fixture("changing"), "--", ...words], { ...env })
  await run.shows("fc: waits")
  return run
}
function goOn(): void {
  writeFileSync(join(place.dir, "go"), "")
}
const fresh = () => join(place.dir, "fresh.img")

onBoth("a symlink in the place of the old file is removed itself, and what it leads to stays", async () => {
  const run = await waiting([["drives.replace", "data", fresh()]])
  const outside = join(place.dir, "outside")
  writeFileSync(outside, "of the host", { mode: 0o600 })
  renameSync(join(rootOf(), "disk0"), join(rootOf(), "hidden"))
  symlinkSync(outside, join(rootOf(), "disk0"))
  goOn()
  await run.shows("fc: changed")
  expect(readFileSync(outside, "utf8")).toBe("of the host")
  expect(statSync(outside)).toMatchObject({ uid: 0 })
  expect(readFileSync(join(rootOf(), "disk0"), "utf8")).toBe("f".repeat(8192))
  run.signal("SIGINT")
  await run.ended
})

onBoth("a directory there keeps its name; the change is refused, and the VM ends as ever", async () => {
  const run = await waiting([["drives.replace", "data", fresh()]])
  rmSync(join(rootOf(), "disk0"))
  mkdirSync(join(rootOf(), "disk0"))
  goOn()
  await run.shows("fc: changed")
  expect(statSync(join(rootOf(), "disk0")).isDirectory()).toBe(true)
  run.signal("SIGINT")
  expect((await run.ended).stderr).toContain("refused: ")
})

test("drives come and go with Firecracker 1.16 alone: an older one is named, and nothing is left", async () => {
  const older = buildDoubles(newDirectory(), { version: "1.15.1" }).env
  const run = await waiting(
    [
      ["drives.add", { id: "more", path: fresh() }],
      ["drives.remove", "data"],
    ],
    older,
  )
  goOn()
  await run.shows("fc: changed")
  expect(existsSync(join(rootOf(), "disk0"))).toBe(true)
  run.signal("SIGINT")
  const { stderr } = await run.ended
  const words = "a device that comes or goes while the guest runs: Firecracker 1.15 does not have it: it came with 1.16"
  expect(stderr).toContain(`refused: ctx.drives.add: ${words}`)
  expect(stderr).toContain(`refused: ctx.drives.remove: ${words}`)
})
