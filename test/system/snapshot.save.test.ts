import { expect } from "bun:test"
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { banger, fixture, type Running, start } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildDoubles, kernelOf } from "./support/doubles.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, records } from "./support/place.ts"

const newDirectory = directoriesOfFile()

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

// Disks are whole sectors.
const IMAGE = "the image".padEnd(512)
const WRITTEN = "what the guest wrote".padEnd(512)

async function running(flags: readonly string[] = [], text = IMAGE): Promise<{ run: Running; disk: string }> {
  const disk = join(place.dir, "disk.img")
  writeFileSync(disk, text)
  const spec = JSON.stringify({ drives: [{ path: disk }, { path: disk, readonly: true, id: "ro" }] })
  const kernel = kernelOf(place.dir, "PRINT[up]")
  const run = start(place, ["run", fixture("firecracker"), ...flags, "--", kernel, spec], { ...firecracker.env })
  await run.shows("runs as")
  return { run, disk }
}
const rootOf = () => join(place.state, "jail/firecracker", records(place)[0]?.id ?? "", "root")

onBoth("a VM is saved with its disks and goes on; another goes on from what was saved", async () => {
  const { run, disk } = await running()
  writeFileSync(join(rootOf(), "disk0"), WRITTEN)
  const dir = join(place.dir, "saved")
  const saved = await banger(place, ["snapshot", "fc", dir])
  expect(saved).toMatchObject({ exit: 0 })
  expect(readdirSync(dir).sort()).toEqual(["disk0", "memory", "snapshot.json", "state"])
  expect(readFileSync(join(dir, "disk0"), "utf8")).toBe(WRITTEN)
  expect(readdirSync(rootOf()).filter((name) => /^(state|memory)-/.test(name))).toEqual([])
  expect((await banger(place, ["snapshot", "fc", dir])).stderr).toContain("is there already")
  run.signal("SIGINT")
  expect((await run.ended).stderr).toContain("postStop: guest reset")

  const again = await running(["--restore", dir])
  expect(readFileSync(join(rootOf(), "disk0"), "utf8")).toBe(WRITTEN)
  expect(readFileSync(disk, "utf8")).toBe(IMAGE)
  again.run.signal("SIGINT")
  await again.run.ended
})

onBoth("a VM that stands still is saved, goes on standing still, and is stopped all the same", async () => {
  const { run } = await running()
  const unix = join(rootOf(), "api.sock")
  const body = JSON.stringify({ state: "Paused" })
  expect((await fetch("http://api/vm", { unix, method: "PATCH", body })).status).toBe(204)
  expect(await banger(place, ["snapshot", "fc", join(place.dir, "saved")])).toMatchObject({ exit: 0 })
  expect(await (await fetch("http://api/", { unix })).json()).toMatchObject({ state: "Paused" })
  run.signal("SIGINT")
  expect((await run.ended).stderr).toContain("postStop: guest reset")
})

onBoth("a VM that goes on before its disks are saved is not saved, and no directory is left", async () => {
  const { run } = await running([], "x".repeat(192 << 20))
  const unix = join(rootOf(), "api.sock")
  const dir = join(place.dir, "saved")
  const saving = banger(place, ["snapshot", "fc", dir])
  const state = async () => (await fetch("http://api/", { unix })).json() as Promise<{ state: string }>
  // The disk is what it does last, and longest.
  while (!existsSync(join(dir, "disk0"))) await Bun.sleep(1)
  expect(await state()).toMatchObject({ state: "Paused" })
  await fetch("http://api/vm", { unix, method: "PATCH", body: JSON.stringify({ state: "Resumed" }) })
  const { stderr, exit } = await saving
  expect(stderr).toContain("fc was resumed before all of it was saved")
  expect(exit).toBe(1)
  expect(existsSync(dir)).toBe(false)
  run.signal("SIGINT")
  await run.ended
})

onBoth("what is no snapshot, of another version or for another VMM, is refused before anything is made", async () => {
  const dir = join(place.dir, "saved")
  const kernel = kernelOf(place.dir)
  const restore = (vmm: string, env = firecracker.env) =>
    start(place, ["run", fixture("firecracker"), "--restore", dir, "--vmm", vmm, "--", kernel], { ...env }).ended
  expect((await restore("firecracker")).stderr).toContain("is not a whole snapshot")
  const { run } = await running()
  await banger(place, ["snapshot", "fc", dir])
  run.signal("SIGINT")
  await run.ended
  expect((await restore("qemu")).stderr).toContain("qemu has no snapshots")
  const other = newDirectory()
  expect((await restore("firecracker", buildDoubles(other, { version: "1.15.1" }).env)).stderr).toContain(
    "it was taken with Firecracker 1.16, and this is 1.15",
  )
  rmSync(other, { recursive: true })
})

onBoth(
  "a name that the jail's uid has put there is not followed: no directory is left, and the VM goes on",
  async () => {
    const { run } = await running()
    const root = rootOf()
    renameSync(join(root, "disk0"), join(root, "hidden"))
    symlinkSync("/etc/shadow", join(root, "disk0"))
    const dir = join(place.dir, "saved")
    const { stderr, exit } = await banger(place, ["snapshot", "fc", dir])
    expect(stderr).toContain("ELOOP")
    expect(exit).toBe(1)
    expect(existsSync(dir)).toBe(false)
    run.signal("SIGINT")
    expect((await run.ended).stderr).toContain("postStop: guest reset")
    expect((await banger(place, ["snapshot", "fc", dir])).stderr).toContain("fc is stopped, not running")
  },
)

onBoth("a hook can save its VM, and again on what it saved", async () => {
  const dir = join(place.dir, "saved")
  kernelOf(place.dir, "PRINT[up]")
  const plugin = join(place.dir, "saves.ts")
  writeFileSync(
    plugin,
    `import { definePlugin } from "banger"
export default definePlugin({
  name: "fc", kernel: "vmlinux", vmm: "firecracker", firecracker: { machine: { track_dirty_pages: true } },
  async postBoot(ctx) {
    const base = ${JSON.stringify(dir)}
    await ctx.snapshot(base)
    await ctx.snapshot(base + "-next", { base })
    for (const wrong of ["relative", base])
      await ctx.snapshot(base + "-third", { base: wrong }).catch((error) => ctx.log.info(error.message))
    ctx.log.info("saved")
  },
})`,
  )
  const run = start(place, ["run", plugin], { ...firecracker.env })
  await run.shows("saved")
  for (const name of [dir, `${dir}-next`]) expect(existsSync(join(name, "snapshot.json"))).toBe(true)
  expect(existsSync(`${dir}-third`)).toBe(false)
  run.signal("SIGINT")
  const { stderr } = await run.ended
  expect(stderr).toContain("ctx.snapshot: relative is not an absolute path")
  expect(stderr).toContain("saved is not the last snapshot of fc")
})

/** Directories in which somebody else could swap what root writes or reads, as they are made of a new one, and why. */
const OTHERS: readonly (readonly [string, (dir: string) => void, string])[] = [
  ["another user's", (dir) => chownSync(dir, 1234, 1234), "belongs to uid 1234, who could swap what is in it"],
  ["open to all", (dir) => chmodSync(dir, 0o777), "can be written by others"],
  ["open to a group", (dir) => chmodSync(dir, 0o770), "can be written by others"],
]

onBoth("where others could swap a snapshot none is made, and the guest does not stand still for it", async () => {
  const { run } = await running()
  for (const [what, spoil, why] of OTHERS) {
    const dir = join(place.dir, what.replaceAll(/\W/g, "-"))
    mkdirSync(join(dir, "below"), { recursive: true })
    spoil(dir)
    symlinkSync(dir, join(place.dir, `to-${what.replaceAll(/\W/g, "-")}`))
    for (const at of [dir, join(dir, "below"), join(place.dir, `to-${what.replaceAll(/\W/g, "-")}`)]) {
      const { stderr, exit } = await banger(place, ["snapshot", "fc", join(at, "saved")])
      expect(stderr).toContain(`${dir} ${why}`)
      expect(exit).toBe(1)
    }
    expect(readdirSync(dir, { recursive: true })).toEqual(["below"])
  }
  const missing = await banger(place, ["snapshot", "fc", join(place.dir, "not/there/saved")])
  expect(missing.stderr).toContain(`there is no directory ${join(place.dir, "not/there")}\nmake it first: mkdir -p`)
  const base = await banger(place, ["snapshot", "--base", join(place.dir, "open-to-all"), "fc", join(place.dir, "on")])
  expect(base.exit).not.toBe(0)
  // Who asked by sudo can have root run their plugins anyhow; in a sticky directory nobody can swap what is root's.
  const own = join(place.dir, "another-user-s")
  expect((await banger(place, ["snapshot", "fc", join(own, "own")], { SUDO_UID: "1234" })).exit).toBe(0)
  mkdirSync(join(place.dir, "sticky"))
  chmodSync(join(place.dir, "sticky"), 0o1777)
  const sticky = join(place.dir, "sticky/saved")
  expect((await banger(place, ["snapshot", "fc", sticky])).exit).toBe(0)
  run.signal("SIGINT")
  await run.ended
  const before = records(place).length
  for (const [what, spoil, why] of OTHERS) {
    const dir = join(place.dir, `copy-${what.replaceAll(/\W/g, "-")}`)
    cpSync(sticky, dir, { recursive: true })
    spoil(dir)
    const words = ["run", fixture("firecracker"), "--restore", dir, "--", kernelOf(place.dir)]
    const { stderr, exit } = await start(place, words, { ...firecracker.env }).ended
    expect(stderr).toContain(`--restore: ${dir} ${why}`)
    expect(exit).toBe(1)
  }
  expect(records(place)).toHaveLength(before)
  const again = await running(["--restore", sticky])
  again.run.signal("SIGINT")
  await again.run.ended
})
