import { expect } from "bun:test"
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, truncateSync } from "node:fs"
import { join } from "node:path"
import { banger, type Ended, fixture, type Running, start } from "./support/banger.ts"
import { firecrackersOfFile, pollingGuest } from "./support/firecrackers.ts"
import { eachInItsPlace, records } from "./support/place.ts"

const place = eachInItsPlace()
const TRACKED = { firecracker: { machine: { track_dirty_pages: true } } }
const PAGE_BYTES = 4096

for (const one of firecrackersOfFile()) {
  const up = async (flags: readonly string[] = [], spec: object = TRACKED): Promise<Running> => {
    const words = [
      "run",
      fixture("firecracker"),
      ...flags,
      "--",
      pollingGuest(place.dir, "counter"),
      JSON.stringify(spec),
    ]
    const run = start(place, words, one.env)
    await run.shows("runs as")
    return run
  }
  const at = (name: string) => join(place.dir, name)
  const memoryOf = (name: string) => readFileSync(join(at(name), "memory"))
  const snapshot = (name: string, base?: string) =>
    banger(place, ["snapshot", "fc", at(name), ...(base === undefined ? [] : ["--base", at(base)])], one.env)
  const taken = async (name: string, base?: string) => expect(await snapshot(name, base)).toMatchObject({ exit: 0 })
  const refused = async (name: string, base: string, words: string) => {
    const { stderr, exit } = await snapshot(name, base)
    expect(stderr).toContain(words)
    expect(exit).toBeGreaterThan(0)
    expect(existsSync(at(name))).toBe(false)
  }
  const inVm = (state: "Paused" | "Resumed") => {
    const unix = join(place.state, "jail/firecracker", records(place)[0]?.id ?? "", "root/api.sock")
    return fetch("http://api/vm", { unix, method: "PATCH", body: JSON.stringify({ state }) })
  }

  one.test(`${one.name}: memory that is zero takes no blocks, and the guest goes on from it`, async () => {
    const run = await up([], { memory: "256M" })
    await taken("full")
    await ended(run)
    const { size, blocks } = statSync(join(at("full"), "memory"))
    console.log(`${one.name}: ${size >> 20} MiB of memory take ${(blocks * 512) >> 10} KiB`)
    expect(size).toBe(256 << 20)
    expect(blocks * 512).toBeLessThan(4 << 20)
    await ended(await up(["--restore", at("full")], { memory: "256M" }))
  })

  one.test(`${one.name}: a snapshot on a base is whole: what changed since, and the rest of the base`, async () => {
    const run = await up()
    await taken("base")
    await taken("next", "base")
    await inVm("Paused")
    await taken("last", "next")
    await taken("full")
    await inVm("Resumed")
    expect(readdirSync(join(place.state, "jail/firecracker", records(place)[0]?.id ?? "", "root")).join()).not.toMatch(
      /memory-|state-/,
    )
    await ended(run)
    // What a snapshot of the same moment has that asked for all of it.
    if (one.real) expect(memoryOf("last").equals(memoryOf("full"))).toBe(true)
    const [base, last] = [memoryOf("base"), memoryOf("last")]
    expect(last.length).toBe(base.length)
    const changed = base.length / PAGE_BYTES - pagesAlike(base, last)
    expect(changed).toBeGreaterThan(0)
    expect(changed).toBeLessThan(16)
    expect(statSync(join(at("last"), "memory")).blocks * 512).toBeLessThan(4 << 20)
    // It needs no base any more; a restored VM's next one may be on what it came from.
    for (const name of ["base", "next", "full"]) rmSync(at(name), { recursive: true })
    const again = await up(["--restore", at("last")])
    await taken("after", "last")
    await ended(again)
    expect(pagesAlike(last, memoryOf("after"))).toBeGreaterThan(base.length / PAGE_BYTES - 16)
  })

  one.test(`${one.name}: what is not the VM's last snapshot is no base, and no trace of the try is left`, async () => {
    const run = await up()
    await taken("first")
    await taken("second", "first")
    await refused("third", "first", "first is not the last snapshot of fc, nor what it was restored from")
    await refused("third", "nothing", "base: ")
    truncateSync(join(at("second"), "memory"), 4096)
    await refused("third", "second", "base: the memory of ")
    // After that it is not known since when changes are tracked.
    await refused("third", "second", "is not the last snapshot of fc")
    await taken("whole")
    renameSync(join(at("whole"), "memory"), join(at("whole"), "hidden"))
    await refused("third", "whole", "there is no file ")
    renameSync(join(at("whole"), "hidden"), join(at("whole"), "memory"))
    await taken("third", "whole")
    await ended(run)
  })

  one.test(`${one.name}: without tracking there is no base`, async () => {
    const run = await up([], {})
    await taken("first")
    await refused("second", "first", "base: fc runs without firecracker.machine.track_dirty_pages")
    await ended(run)
  })

  one.test(`${one.name}: of two at once, none is written on a base whose changes the other took`, async () => {
    const run = await up()
    await taken("base")
    const both = await Promise.all([snapshot("a", "base"), snapshot("b", "base")])
    const good = ["a", "b"].filter((_, index) => both[index]?.exit === 0)
    for (const name of ["a", "b"]) expect(existsSync(at(name))).toBe(good.includes(name))
    expect(good.length).toBeLessThan(2)
    await ended(run)
  })
}

// --- internal ---

async function ended(run: Running): Promise<Ended> {
  run.signal("SIGINT")
  const all = await run.ended
  expect(all.stderr).toContain("postStop: guest reset")
  return all
}

function pagesAlike(one: Buffer, other: Buffer): number {
  let alike = 0
  for (let at = 0; at < one.length; at += PAGE_BYTES)
    if (one.subarray(at, at + PAGE_BYTES).equals(other.subarray(at, at + PAGE_BYTES))) alike++
  return alike
}
