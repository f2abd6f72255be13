import { expect, test } from "bun:test"
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, type Ended } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { listed, noted, runDouble } from "./support/vms.ts"

const { firecracker } = onEachFirecracker()
const place = eachInItsPlace()
const filler = () => join(place.state, "filler")
const well = ({ stderr, exit }: Ended) => ({ full: /ENOSPC|full/.test(stderr) ? stderr : "", exit })
const WELL = { full: "", exit: 0 }

async function onSmallDisk(work: () => Promise<void>, size = "size=6M"): Promise<void> {
  const { state } = place
  mkdirSync(state, { mode: 0o711 })
  const words = ["mount", "-t", "tmpfs", "-o", `${size},mode=711`, "small", state]
  expect(Bun.spawnSync(words).exitCode).toBe(0)
  try {
    await work()
  } finally {
    Bun.spawnSync(["umount", "--lazy", state])
  }
}

/** What is kept back stays kept back. */
function fill(): void {
  const words = ["dd", "if=/dev/zero", `of=${filler()}`, "bs=4k", "count=4096"]
  expect(Bun.spawnSync(words, { stderr: "ignore" }).exitCode).toBe(1)
  expect(existsSync(join(place.state, "reserve"))).toBe(true)
}

const WAYS = ["stop", "kill", "rm -f"].flatMap((words) => [
  { words, flag: "--detach" },
  { words, flag: "--supervise=none" },
])

test.each(WAYS)("on a full disk `banger $words` ends a VM of run $flag, and the record tells what was", (how) =>
  onSmallDisk(async () => {
    const { words, flag } = how
    expect((await runDouble(place, firecracker, [flag])).exit).toBe(0)
    const [{ id = "" } = {}] = records(place)
    fill()
    expect(well(await banger(place, [...words.split(" "), "double"]))).toEqual(WELL)
    expect(processesOf(place)).toEqual([])
    expect(noted(place, "ended")).toEqual([id])
    // Still full: what was written is what is there.
    const ended = { id, state: "stopped", exit: { requested: true } }
    expect(await listed(place, "-a")).toMatchObject(words === "rm -f" ? [] : [ended])
  }),
)

test.each(["sweep", "ps --reconcile"])("on a full disk `banger %s` finishes a dead VM, which has run", (words) =>
  onSmallDisk(async () => {
    expect((await runDouble(place, firecracker, ["--supervise=none"])).exit).toBe(0)
    const [vm] = await listed(place)
    process.kill(vm?.pid ?? 0, "SIGKILL")
    fill()
    expect(well(await banger(place, words.split(" ")))).toEqual(WELL)
    const [ended] = await listed(place, "-a")
    expect(ended).toMatchObject({ id: vm?.id ?? "", exit: { requested: false } })
    expect(JSON.stringify(ended)).not.toContain("failed to start")
    // As soon as there is room again, the next VM has some kept back.
    rmSync(filler())
    expect((await runDouble(place, firecracker)).exit).toBe(0)
    expect(existsSync(join(place.state, "reserve"))).toBe(true)
    expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  }),
)

/** Takes each inode that is left. */
function fillInodes(): void {
  const dir = join(place.state, "filler")
  mkdirSync(dir)
  let count = 0
  expect(() => {
    for (;;) writeFileSync(join(dir, String(count++)), "")
  }).toThrow("ENOSPC")
}

test.each(WAYS)("with no inode left `banger $words` ends a VM of run $flag, and the record tells what was", (how) =>
  onSmallDisk(async () => {
    const { words, flag } = how
    expect((await runDouble(place, firecracker, [flag])).exit).toBe(0)
    const [{ id = "" } = {}] = records(place)
    fillInodes()
    expect(well(await banger(place, [...words.split(" "), "double"]))).toEqual(WELL)
    expect(processesOf(place)).toEqual([])
    expect(noted(place, "ended")).toEqual([id])
    const ended = { id, state: "stopped", exit: { requested: true } }
    expect(await listed(place, "-a")).toMatchObject(words === "rm -f" ? [] : [ended])
  }, "size=64M,nr_inodes=120"),
)
