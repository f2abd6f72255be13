import { expect } from "bun:test"
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, type Ended, fixture, type Running, start, until } from "./support/banger.ts"
import { type Firecracker, firecrackersOfFile, pollingGuest } from "./support/firecrackers.ts"
import { eachInItsPlace, records } from "./support/place.ts"
import { sql } from "./support/vms.ts"

const place = eachInItsPlace()
const firecrackers = firecrackersOfFile()

for (const one of firecrackers) {
  const words = (name: string, flags: readonly string[], spec: object = {}) => [
    ...["run", fixture("firecracker"), "--name", name, ...flags, "--", pollingGuest(place.dir), JSON.stringify(spec)],
  ]
  const boot = (name: string, flags: readonly string[] = [], spec: object = {}) =>
    start(place, words(name, flags, spec), one.env)

  one.test(`${one.name}: a snapshot is restored once, also when it was copied and its VM removed`, async () => {
    const dir = await saved(one)
    const plan = (await boot("first", ["--plan", "--restore", dir]).ended).stdout
    expect(plan).toContain(`note that the snapshot ${dir} is restored`)
    expect(plan).toMatch(/load the snapshot \(state \S+\/state, memory \S+\/memory\) instead of booting/)
    const first = boot("first", ["--restore", dir])
    await first.shows("runs as")
    expect(await refusal(boot("second", ["--restore", dir]))).toMatch(
      /ERROR {2}--restore: \S+saved was restored already by VM first-\w+ \(first\) at 20[\d-]+T\S+Z\n/,
    )
    // Nothing is stopped for a VM that could not take its place.
    expect(await refusal(boot("first", ["--replace", "--restore", dir]))).toContain("restored already by VM first-")
    expect(records(place).find(({ name }) => name === "first")?.state).toBe("running")
    await ended(first)
    const copy = join(place.dir, "copy")
    cpSync(dir, copy, { recursive: true })
    rmSync(dir, { recursive: true })
    expect((await banger(place, ["rm", "first"], one.env)).exit).toBe(0)
    expect((await banger(place, ["sweep"], one.env)).exit).toBe(0)
    expect(await refusal(boot("second", ["--restore", copy]))).toContain("restored already by VM first-")
    const clones = ["a", "b"].map((name) => boot(name, ["--restore", copy], { unsafeClone: true }))
    for (const clone of clones) await clone.shows("runs as")
    for (const clone of clones) await ended(clone)
  })

  one.test(`${one.name}: of two restores at once, one runs and the other makes nothing`, async () => {
    const dir = await saved(one)
    const both = ["a", "b"].map((name) => boot(name, ["--restore", dir]))
    const [winner, loser] = await Promise.any(
      both.map(async (run, index) => {
        await run.shows("runs as")
        return [run, both[1 - index]] as const
      }),
    )
    expect(await refusal(loser as Running)).toMatch(
      /--restore: \S+ (?:was restored already|is being restored) by VM [ab]-/,
    )
    await ended(winner)
    // The source was removed, and the loser left no record.
    expect(records(place)).toHaveLength(1)
  })

  one.test(`${one.name}: a restore whose guest never ran does not count`, async () => {
    const dir = await saved(one)
    const memory = readFileSync(join(dir, "memory"))
    writeFileSync(join(dir, "memory"), "short")
    expect((await boot("bad", ["--restore", dir]).ended).stderr).toContain("postStop: failed to start")
    writeFileSync(join(dir, "memory"), memory)
    // Killed before the VMM is started, it leaves a VM that the next restore finishes.
    const strace = ["-o", "/dev/null", "-f", "-e", "trace=mknodat", "-e", "inject=mknodat:signal=KILL:when=1"]
    const through = ["strace", ...strace]
    expect((await start(place, words("dies", ["--restore", dir]), one.env, { through }).ended).exit).not.toBe(0)
    expect(records(place)[0]?.state).not.toBe("failed")
    const again = boot("again", ["--restore", dir])
    await again.shows("runs as")
    await ended(again)
  })

  one.test(`${one.name}: when it is not known whether the guest ran, it counts and is said`, async () => {
    const dir = await saved(one)
    await ended(await shown(boot("first", ["--restore", dir])))
    sql(place, "update vms set running_at = null where name = 'first'")
    const words = await refusal(boot("second", ["--restore", dir]))
    expect(words).toContain("; whether its guest ran is not known")
    expect(words).toContain("unsafeClone: true")
  })

  one.test(`${one.name}: a restart of a restored VM boots it`, async () => {
    const dir = await saved(one)
    const restart = { policy: "on-failure", delay: "50ms" }
    const run = await shown(boot("vm", ["--restore", dir], { restart }))
    const [record] = records(place)
    expect(consoleOf(record?.id)).not.toContain("BANGER-GUEST-UP")
    process.kill(await pidOf("vm"), "SIGKILL")
    await until(() => records(place).some(({ id, state }) => id !== record?.id && state === "running"))
    const [next] = records(place)
    await until(() => consoleOf(next?.id).includes("BANGER-GUEST-UP"))
    await ended(run)
  })

  one.test(`${one.name}: the guest goes on with its address and MAC, without a word of the plugin`, async () => {
    const mac = "02:00:00:00:00:09"
    const dir = await saved(one, { network: { address: "10.213.0.9", mac } })
    const run = await shown(boot("again", ["--restore", dir], { network: true }))
    const { leases } = JSON.parse((await banger(place, ["net", "ls", "--json"], one.env)).stdout)
    expect(leases).toMatchObject([{ name: "again", address: "10.213.0.9", mac }])
    await ended(run)
    const bare = boot("bare", ["--restore", dir])
    expect((await bare.ended).stderr).toContain("has a network card, with 10.213.0.9")
  })

  const pidOf = async (name: string) => {
    const vms = JSON.parse((await banger(place, ["ps", "--json"], one.env)).stdout) as { name: string; pid: number }[]
    return vms.find((vm) => vm.name === name)?.pid ?? 0
  }
}

// --- internal ---

/** A snapshot of a VM that has ended. */
async function saved(one: Firecracker, spec: object = {}): Promise<string> {
  const kernel = pollingGuest(place.dir)
  const words = ["run", fixture("firecracker"), "--name", "source", "--", kernel, JSON.stringify(spec)]
  const run = await shown(start(place, words, one.env))
  const dir = join(place.dir, "saved")
  const { stderr, exit } = await banger(place, ["snapshot", "source", dir], one.env)
  expect({ stderr, exit }).toMatchObject({ exit: 0 })
  await ended(run)
  await banger(place, ["rm", "source"], one.env)
  return dir
}

async function shown(run: Running): Promise<Running> {
  await run.shows("runs as")
  return run
}

async function ended(run: Running): Promise<Ended> {
  run.signal("SIGINT")
  const all = await run.ended
  expect(all.stderr).toContain("postStop: guest reset")
  return all
}

/** What a run that is refused says; it has left no record. */
async function refusal(run: Running): Promise<string> {
  const before = existsSync(join(place.state, "vms")) ? readdirSync(join(place.state, "vms")).length : 0
  const { stderr, exit } = await run.ended
  expect({ stderr, exit }).toMatchObject({ exit: 1 })
  expect(readdirSync(join(place.state, "vms")).length).toBeLessThanOrEqual(before)
  return stderr
}

const consoleOf = (id = "") => {
  const path = join(place.state, "vms", id, "console.log")
  return existsSync(path) ? readFileSync(path, "latin1") : ""
}
