// The life of a VM on Firecracker, from its start to the last trace of it: on the double, and on the real one with its
// jailer where that can run. Guests here fit into a page. What only a stock Linux guest can show on the real one (a packet on
// its card, a block of its disk, memory of its own) needs a host whose KVM boots that: it is no part of this tier.
import { afterEach, beforeEach, expect, test } from "bun:test"
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { bangersOf } from "../double/support/place.ts"
import { tell } from "../double/support/tell.ts"
import { banger, fixture, type Running, start, until } from "./support/banger.ts"
import { kernelOf } from "./support/doubles.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { later } from "./support/leftovers.ts"
import { eachInItsPlace, expectNothingLeft, processesOf, records, supervisorsOf } from "./support/place.ts"
import { isAlive, killed, listed, noted, runDouble, signal } from "./support/vms.ts"
import { beHost, expectNoNetwork, must } from "./support/wire.ts"

/** Fewer on the double, which is asked for each single moment elsewhere. */
const ROUNDS = { real: 40, double: 10 }
/** The longest start that a kill falls into, in milliseconds. */
const START_MS = 400

const { firecracker, onBoth } = onEachFirecracker()
beforeEach(beHost)
const place = eachInItsPlace()
afterEach(expectNoNetwork)

function boot(words: string, spec: object = {}, flags: readonly string[] = []): Running {
  const kernel = kernelOf(place.dir, words)
  return start(place, ["run", ...flags, fixture("firecracker"), "--", kernel, JSON.stringify(spec)], {
    ...firecracker.env,
  })
}

const consoleOf = (id: string) => readFileSync(join(place.state, "vms", id, "console.log"), "utf8")

/** Kills every banger of the place, also one that another started as it was killed itself. */
async function killBangers(): Promise<void> {
  for (let none = 0; none < 3; none++) {
    for (const pid of bangersOf(place)) {
      none = 0
      await killed(Number(pid)).catch(() => {})
    }
    await Bun.sleep(10)
  }
}

const halfWritten = () =>
  existsSync(place.state)
    ? readdirSync(place.state, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".tmp"))
    : []

/** Asserts that a guest runs and reads: it says a word back. */
async function expectAnswer(id: string, word: string): Promise<void> {
  tell(place, id, `${word}\n`)
  await until(() => consoleOf(id).includes(`${word}\n`))
}

/** Asserts that a VM has gone on and is whole, and ends it. */
async function expectAlive(id: string): Promise<void> {
  await expectAnswer(id, "still-there")
  const [vm] = (await listed(place)).filter((one) => one.id === id)
  expect(vm).toMatchObject({ state: "running", liveness: "alive" })
  expect(await banger(place, ["stop", id])).toMatchObject({ exit: 0 })
}

onBoth("hooks run in order, once each; a guest stands still while it is paused, and reads again after", async () => {
  const plugin = join(place.dir, "hooks.ts")
  const notes = join(place.dir, "notes")
  const note = (hook: string) => `appendFileSync(${JSON.stringify(notes)}, "${hook}\\n")`
  writeFileSync(
    plugin,
    `import { appendFileSync } from "node:fs"
    export default { name: "fc", kernel: "vmlinux", vmm: "firecracker",
    configure() { ${note("configure")} },
    preBoot() { ${note("preBoot")} },
    async postBoot(ctx) {
      ${note("postBoot")}
      await ctx.pause()
      ctx.log.info("stands still")
      await Bun.sleep(300)
      await ctx.resume()
      ctx.log.info("goes on")
    },
    preStop() { ${note("preStop")} },
    postStop(ctx) { ${note("postStop")}; ctx.log.info("postStop: " + ctx.exit.reason) } }`,
  )
  kernelOf(place.dir, "PRINT[up]")
  const run = start(place, ["run", plugin], { ...firecracker.env })
  await run.shows("stands still")
  const id = records(place)[0]?.id ?? ""
  tell(place, id, "anybody\n")
  await Bun.sleep(100)
  expect(consoleOf(id)).not.toContain("anybody")
  await run.shows("goes on")
  await run.shows("anybody")
  run.signal("SIGTERM")
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("postStop: guest reset")
  expect(exit).toBe(143)
  const hooks = readFileSync(notes, "utf8").trim().split("\n")
  expect(hooks).toEqual(["configure", "preBoot", "postBoot", "preStop", "postStop"])
})

onBoth("a VMM that is killed has its VM end as killed, in the foreground and without", async () => {
  const run = boot("PRINT[up]")
  await run.shows("runs as")
  signal(processesOf(place)[0], "SIGKILL")
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("postStop: killed")
  expect(exit).toBe(1)
  await runDouble(place, firecracker)
  const [vm] = await listed(place)
  const waiting = start(place, ["wait", "double"])
  await killed(vm?.pid)
  expect((await waiting.ended).stdout).toContain("killed (SIGKILL)")
  await until(() => !isAlive(vm?.supervisor))
  expect(noted(place, "ended")).toEqual([vm?.id ?? ""])
})

onBoth("a VM whose supervisor and VMM are killed at once is finished by the next sweep, its hook once", async () => {
  await runDouble(place, firecracker)
  const [vm] = await listed(place)
  await Promise.all([killed(vm?.supervisor), killed(vm?.pid)])
  expect(await banger(place, ["sweep"])).toMatchObject({ exit: 0 })
  expect(await banger(place, ["sweep"])).toMatchObject({ exit: 0, stderr: "" })
  expect(noted(place, "ended")).toEqual([vm?.id ?? ""])
})

onBoth(
  "a VM is booted again as its policy says: after a kill and its limit, after a reset only where it is always",
  async () => {
    await runDouble(place, firecracker, ["--detach"], "PRINT[up]", {
      restart: { policy: "on-failure", limit: 1, delay: "20ms" },
    })
    for (const boots of [1, 2]) {
      await until(() => noted(place, "booted").length === boots && processesOf(place).length === 1)
      await killed(processesOf(place)[0])
      await until(() => noted(place, "ended").length === boots)
    }
    await until(() => supervisorsOf(place).length === 0)
    expect(records(place).map(({ state }) => state)).toEqual(["failed", "failed"])
    await runDouble(place, firecracker, ["--detach"], "RESET", { name: "once", restart: { policy: "on-failure" } })
    await until(() => noted(place, "ended").length === 3 && supervisorsOf(place).length === 0)
    await runDouble(place, firecracker, ["--detach"], "RESET", {
      name: "ever",
      restart: { policy: "always", delay: "20ms" },
    })
    await until(() => noted(place, "ended").length >= 6)
    expect((await banger(place, ["stop", "ever"])).exit).toBe(0)
    expect(noted(place, "ended").toSorted()).toEqual([...new Set(noted(place, "ended"))].toSorted())
  },
)

onBoth(
  "a guest that floods its console fills no disk, every line of it is shown, and Ctrl-Alt-Del still ends it",
  async () => {
    const run = boot("PRINT[up] FLOOD", { console: { limit: "64K" } })
    await run.shows("runs as")
    await run.shows("flood 00008000\n")
    const log = join(place.state, "vms", records(place)[0]?.id ?? "", "console.log")
    run.signal("SIGINT")
    const { stdout, stderr, exit } = await run.ended
    expect(stderr).toContain("postStop: guest reset")
    expect(exit).toBe(130)
    const lines = stdout.split("\n").filter((line) => line.startsWith("flood "))
    const last = lines.at(-1)
    // The last may have been cut off by the reset.
    const whole = last?.length === lines[0]?.length ? lines : lines.slice(0, -1)
    const [first = 0] = whole.map((line) => Number(line.slice("flood ".length)))
    expect(whole).toEqual(whole.map((_, index) => `flood ${String(first + index).padStart(8, "0")}`))
    // Some more than the limit is kept: a burst that comes within one look at the file is taken whole.
    expect(stdout.length).toBeGreaterThan(110 * 1024)
    expect(statSync(log).size).toBeLessThan(100 * 1024)
  },
)

onBoth("what was saved goes on in another VM: its guest answers, and so does the first", async () => {
  const first = boot("PRINT[up]", {}, ["--name", "first"])
  await first.shows("runs as")
  const id = records(place)[0]?.id ?? ""
  await expectAnswer(id, "before")
  const dir = join(place.dir, "saved")
  expect(await banger(place, ["snapshot", "first", dir])).toMatchObject({ exit: 0 })
  await expectAnswer(id, "after")
  const second = boot("PRINT[up]", {}, ["--name", "second", "--restore", dir])
  await second.shows("runs as")
  const restored = records(place)[0]?.id ?? ""
  await expectAnswer(restored, "again")
  // It did not boot: it went on.
  expect(consoleOf(restored)).not.toContain("up\n")
  for (const run of [second, first]) {
    run.signal("SIGINT")
    const { stderr, exit } = await run.ended
    expect(stderr).toContain("postStop: guest reset")
    expect(exit).toBe(130)
  }
})

onBoth(
  "a network with all that Firecracker alone knows of it, in a namespace and without; all of it goes with the VM",
  async () => {
    for (const netns of [false, true]) {
      const limiter = { bandwidth: { size: 1_000_000, refill_time: 100 } }
      const firecracker = {
        network: { rx_rate_limiter: limiter, tx_rate_limiter: { ops: { size: 1000, refill_time: 100 } }, mtu: 1400 },
        mmds: { version: "V2", ipv4_address: "169.254.169.250", imds_compat: true, data: { role: "web" } },
      }
      const run = boot("PRINT[up]", { network: { netns, ports: ["8080:80"] }, firecracker })
      await run.shows("runs as")
      const { id = "" } = records(place)[0] ?? {}
      const { leases, taps } = JSON.parse((await banger(place, ["net", "ls", "--json"])).stdout)
      expect(leases).toMatchObject([
        { address: expect.stringMatching(/^10\.213\.0\.\d+$/), state: "running", ports: ["8080:80/tcp"] },
      ])
      expect(taps).toMatchObject([{ bridge: "bgr0", kind: netns ? "veth" : "tap", ours: true }])
      const [vmm = 0] = processesOf(place)
      const space = `/proc/${vmm}/ns/net`
      expect(statSync(space).ino === statSync("/proc/self/ns/net").ino).toBe(!netns)
      // Its VMM holds the tap: the link is up.
      const inside = must("nsenter", `--net=${space}`, "ip", "-o", "-d", "link", "show", "type", "tun")
      expect(inside).toContain("LOWER_UP")
      const unix = join(place.state, "jail/firecracker", id, "root/api.sock")
      expect(await (await fetch("http://api/mmds", { unix })).json()).toEqual({ role: "web" })
      const config = await (await fetch("http://api/vm/config", { unix })).json()
      expect(config).toMatchObject({
        "network-interfaces": [{ mtu: 1400, rx_rate_limiter: limiter }],
        "mmds-config": { version: "V2", ipv4_address: "169.254.169.250", imds_compat: true },
      })
      run.signal("SIGINT")
      expect((await run.ended).exit).toBe(130)
      expectNoNetwork()
    }
  },
)

const mount = cgroupMount()
const controllers = mount === undefined ? "" : readFileSync(join(mount, "cgroup.controllers"), "utf8")
const lacking = ["memory", "cpu", "pids"].filter((one) => !controllers.split(/\s/).includes(one))
if (lacking.length > 0) {
  test.skip(`limits are the cgroup's of the VMM (cgroup v2 of this host lacks ${lacking.join(", ")})`, () => {})
} else {
  onBoth("limits are the cgroup's of the VMM, and go with it", async () => {
    const run = boot("PRINT[up]", { limits: { memory: "600M", cpus: 0.5, pids: 64 } })
    await run.shows("runs as")
    const cgroup = join(mount ?? "", "banger", records(place)[0]?.id ?? "")
    const setting = (name: string) => readFileSync(join(cgroup, name), "utf8").trim()
    expect(setting("memory.max")).toBe(String(600 << 20))
    expect(setting("cpu.max")).toBe("50000 100000")
    expect(setting("pids.max")).toBe("64")
    expect(setting("cgroup.procs").split("\n").map(Number)).toContain(processesOf(place)[0] ?? 0)
    run.signal("SIGINT")
    expect((await run.ended).exit).toBe(130)
  })
}

onBoth(
  `killed at random moments of ${ROUNDS.real} starts, in the foreground and without: what is up goes on, and nothing is left of the rest`,
  async () => {
    const became: string[] = []
    const rounds = firecracker.real ? ROUNDS.real : ROUNDS.double
    for (let round = 0; round < rounds; round++) {
      const name = `round-${round}`
      const after = Math.random() * START_MS
      const label = `round ${round}, killed after ${after.toFixed(0)} ms`
      const run = boot("PRINT[up]", {}, ["--name", name, ...(round % 2 === 0 ? ["--detach"] : [])])
      await Bun.sleep(after)
      run.signal("SIGKILL")
      await run.ended
      await killBangers()
      expect({ label, ...(await banger(place, ["sweep"])) }).toMatchObject({ label, exit: 0 })
      const [record] = records(place).filter((one) => one.name === name)
      became.push(record?.state ?? "nothing")
      if (record?.state === "running") await expectAlive(record.id)
      // A file that was half written is kept for an hour, and as long as its maker's pid is anybody's: init may be slow.
      while (halfWritten().length > 0) expect((await later(place, ["sweep"])).exit).toBe(0)
      expectNothingLeft(place)
    }
    console.log(became.join(" "))
  },
  300_000,
)
