import { expect, test } from "bun:test"
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { banger, environmentOf, fixture, start, until } from "../system/support/banger.ts"
import { processesOf, records } from "../system/support/place.ts"
import { isAlive, killed, listed, noted, rowsOf, signal, sql } from "../system/support/vms.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot, bootHeld, bootUnsupervised, bootWords, hold, hooksOf } from "./support/vms.ts"

const place = eachOnDoubles()
const DEAF = { script: "DEAF PRINT[up]", timeouts: { stop: "10m" } }
const isStopping = () => records(place).some(({ state }) => state === "stopping")

test("stop ends a VM and its supervisor, and its hooks run once", async () => {
  const { id, supervisor } = await boot(place)
  expect(await banger(place, ["stop", "double"])).toMatchObject({ stdout: "", exit: 0 })
  expect(processesOf(place)).toEqual([])
  await until(() => !isAlive(supervisor))
  expect(noted(place, "ended")).toEqual([id])
  expect(records(place)).toMatchObject([{ id, state: "stopped" }])
})

test("stop has a time limit of its own, kill does not ask; both are fine with what has ended, not with what never was", async () => {
  await boot(place, DEAF)
  expect((await banger(place, ["stop", "--timeout", "100ms", "double"])).exit).toBe(0)
  const { id } = await boot(place, DEAF)
  for (const verb of ["kill", "kill", "stop"]) expect((await banger(place, [verb, "double"])).exit).toBe(0)
  expect(JSON.parse((await banger(place, ["inspect", "double"])).stdout)).toMatchObject({
    id,
    exit: { reason: "killed", requested: true },
    postStop: { begun: 1, done: 1 },
    journal: { journal: [], troubles: [] },
  })
  const { stderr, exit } = await banger(place, ["stop", "nothing", "neither"])
  expect(stderr).toMatch(/no VM "nothing"[\s\S]*no VM "neither"/)
  expect(exit).toBe(1)
})

test("two that stop a VM give its guest the time that one would", async () => {
  await boot(place, { ...DEAF, timeouts: { stop: "300ms" } })
  const both = [start(place, ["stop", "double"]), start(place, ["stop", "double"])]
  for (const { ended } of both) expect((await ended).exit).toBe(0)
  const said = (await banger(place, ["logs", "--supervisor", "double"])).stdout
  expect(said).toContain("the guest did not stop in 300ms")
  expect(said).not.toContain("stopping at once")
})

test.each(["stop --timeout=50ms", "kill"])("%s shortens a stop that waits", async (words) => {
  await boot(place, DEAF)
  const patient = start(place, ["stop", "double"])
  await until(isStopping)
  expect((await banger(place, [...words.split(" "), "double"])).exit).toBe(0)
  expect((await patient.ended).exit).toBe(0)
  expect(noted(place, "ended")).toHaveLength(1)
})

test("kill while preStop runs ends the VM without waiting for it, and postStop runs", async () => {
  await bootHeld(place)
  hold(place, "preStop")
  const patient = start(place, ["stop", "held"])
  await until(() => hooksOf(place).includes("preStop"))
  expect((await banger(place, ["kill", "held"])).exit).toBe(0)
  expect((await patient.ended).exit).toBe(0)
  expect(hooksOf(place)).toEqual(["preBoot", "postBoot", "preStop", "postStop"])
})

test.each([
  ["stop", ["stop"]],
  ["kill", ["kill"]],
  ["rm -f", ["rm", "-f"]],
] as const)("one %s ends many VMs that have no supervisor, each with the hooks of its own plugin", async (_, words) => {
  for (const name of ["one", "two"]) await bootUnsupervised(place, { name })
  const ids = (await listed(place)).map(({ id }) => id)
  const { stderr, exit } = await banger(place, [...words, "one", "two"])
  expect({ stderr, exit }).toMatchObject({ exit: 0 })
  expect(stderr).not.toContain("hooks are not run")
  for (const id of ids) expect(stderr.split(id), stderr).toHaveLength(2)
  expect(noted(place, "ended").toSorted()).toEqual(ids.toSorted())
})

test("a supervisor that is stopped itself: who asks for the VM's end is told, and gets it when the supervisor goes on", async () => {
  const { supervisor } = await boot(place)
  signal(supervisor, "SIGSTOP")
  const stopping = start(place, ["stop", "double"])
  await stopping.shows(`kill -CONT ${supervisor}`)
  signal(supervisor, "SIGCONT")
  expect((await stopping.ended).exit).toBe(0)
})

test("a VM that has just ended, and would be booted again, is not once its stop is asked for", async () => {
  // Nobody reads: the supervisor waits for that when the VM has ended, and has not said yet that it boots another.
  const restart = { policy: "always", delay: "10ms" }
  const words = bootWords(place, { flags: [], script: `PRINT[${"x".repeat(300)}]`, restart })
  const fifo = join(place.dir, "fifo")
  Bun.spawnSync(["mkfifo", fifo])
  const reader = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK)
  try {
    for (;;) writeSync(reader, "y".repeat(4096))
  } catch {
    // Full.
  }
  const running = start(place, words, {}, { stdout: reader })
  await until(() => noted(place, "booted").length === 1)
  for (const pid of processesOf(place)) signal(pid, "SIGKILL")
  await until(() => records(place).every(({ state }) => state === "failed"))
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  closeSync(reader)
  await running.ended
  expect(noted(place, "booted")).toHaveLength(1)
  expect(records(place)).toHaveLength(1)
})

// Each moment has a test of its own, which a slow host does not keep from ending in time.
test.each(Array.from({ length: 17 }, (_, index) => index * 10))(
  "a VM that is booted again without end is stopped by its name, at whatever moment that comes: %d ms later",
  async (pause) => {
    const restart = { policy: "always", limit: 1000, delay: "1ms" }
    expect((await banger(place, bootWords(place, { script: "RESET PRINT[up]", restart }))).exit).toBe(0)
    await Bun.sleep(pause)
    expect((await banger(place, ["stop", "double"])).exit).toBe(0)
    expect(await listed(place)).toEqual([])
    expect(noted(place, "ended").toSorted()).toEqual([...new Set(noted(place, "ended"))].toSorted())
    const ended = new Set(noted(place, "ended"))
    expect(noted(place, "booted").filter((id) => !ended.has(id))).toEqual([])
  },
)

test("one between two boots, of whose lock nobody can tell who has it, is waited for, and its supervisor told once it can be", async () => {
  const { id, pid, supervisor } = await boot(place, { restart: { policy: "always", delay: "1h" } })
  signal(pid, "SIGKILL")
  await until(() => rowsOf(place, "select id from vms where restart_at is not null").length === 1)
  // As it is in the moment before that is noted.
  sql(place, "update vms set restart_at = null")
  const lock = join(place.state, "vms", id, "lock")
  const holder = readFileSync(lock, "utf8")
  writeFileSync(lock, holder.slice(0, 20))
  const trace = join(place.dir, "flocks")
  const through = ["strace", "-f", "-o", trace, "-e", "trace=flock"]
  const stopping = start(place, ["stop", "double"], {}, { through })
  const refused = () => existsSync(trace) && readFileSync(trace, "utf8").includes("EAGAIN")
  const first = await Promise.race([stopping.ended.then(() => "ended"), until(refused).then(() => "waits")])
  writeFileSync(lock, holder)
  expect({ first, exit: (await stopping.ended).exit }).toEqual({ first: "waits", exit: 0 })
  await until(() => !isAlive(supervisor))
  expect(await listed(place)).toEqual([])
})

test("a stop by name that comes while the VM waits to be booted again ends the waiting", async () => {
  const { id, pid } = await boot(place, { restart: { policy: "always", delay: "1h" } })
  signal(pid, "SIGKILL")
  await until(() => records(place).every(({ state }) => state === "failed"))
  await until(() => rowsOf(place, "select id from vms where restart_at is not null").length === 1)
  expect((await banger(place, ["ps"])).stdout).toMatch(new RegExp(`${id}.*restarting`))
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  expect(await listed(place)).toEqual([])
})

test("who stops the first VM of a name stops its successor, which is being booted in its place", async () => {
  const { pid } = await bootHeld(place, { restart: { policy: "always", delay: "1ms" } })
  hold(place, "preBoot")
  signal(pid, "SIGKILL")
  await until(() => records(place).length === 2)
  const stopping = start(place, ["stop", "held"])
  await until(() => hooksOf(place).filter((hook) => hook === "preBoot").length === 2)
  expect((await stopping.ended).exit).toBe(0)
  expect(await listed(place)).toEqual([])
  expect(records(place)).toHaveLength(2)
  expect(hooksOf(place)).toEqual(["preBoot", "postBoot", "postStop", "preBoot", "postStop"])
})

test("a supervisor that boots VM after VM keeps nothing of them open", async () => {
  // A variable of the module keeps it from resting: then it is one process for all of them.
  const awake = join(place.dir, "awake.ts")
  writeFileSync(awake, `import double from ${JSON.stringify(fixture("double"))}\nlet kept = 0\nexport default double\n`)
  const words = bootWords(place, { restart: { policy: "always", limit: 100, delay: "5ms" } })
  expect(
    await banger(
      place,
      words.map((word) => (word === fixture("double") ? awake : word)),
    ),
  ).toMatchObject({ exit: 0 })
  const counts: number[] = []
  const supervisors = new Set<number | undefined>()
  for (let round = 1; round <= 6; round++) {
    await until(() => noted(place, "booted").length === round)
    const [vm] = (await listed(place)).filter(({ liveness }) => liveness === "alive")
    supervisors.add(vm?.supervisor)
    counts.push(readdirSync(`/proc/${vm?.supervisor}/fd`).length)
    signal(vm?.pid, "SIGKILL")
  }
  expect(supervisors.size).toBe(1)
  expect(Math.max(...counts.slice(2))).toBeLessThanOrEqual((counts[1] ?? 0) + 2)
  await until(() => noted(place, "booted").length === 7)
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
})

const names = (count: number) => Array.from({ length: count }, (_, index) => `vm-${index}`)

async function bootMany(count: number, how: Parameters<typeof boot>[1] = {}): Promise<readonly string[]> {
  await Promise.all(names(count).map((name) => banger(place, bootWords(place, { ...how, name }))))
  expect(records(place).filter(({ state }) => state === "running")).toHaveLength(count)
  return names(count)
}

test("many are stopped at a time: their guests' time limits pass together, and each is named", async () => {
  const many = await bootMany(6, { ...DEAF, timeouts: { stop: "2s" } })
  const begun = performance.now()
  const { stdout, stderr, exit } = await banger(place, ["stop", ...many, "nobody", many[0] ?? ""])
  expect(performance.now() - begun).toBeLessThan(10_000)
  expect({ stdout, exit }).toEqual({ stdout: "", exit: 1 })
  for (const name of many) expect(stderr.split(`${name} (`).length, stderr).toBe(2)
  expect(stderr).toContain('no VM "nobody"')
  expect(noted(place, "ended")).toHaveLength(6)
})

test("of many VMs one whose supervisor was killed is stopped by a process of its own, with its hooks", async () => {
  await bootMany(3)
  const orphans = (await listed(place)).filter(({ name }) => name !== "vm-0")
  for (const { supervisor } of orphans) await killed(supervisor)
  const { stdout, exit } = await banger(place, ["stop", "--all", "--json"])
  expect(exit).toBe(0)
  expect(stdout.trim().split("\n")).toHaveLength(3)
  expect(noted(place, "ended")).toHaveLength(3)
  expect(records(place).map(({ state }) => state)).toEqual(["stopped", "stopped", "stopped"])
})

test("Ctrl-C ends the wait for many; what was told to stop stops", async () => {
  const many = await bootMany(3, DEAF)
  const stop = start(place, ["stop", ...many])
  await until(() => records(place).every(({ state }) => state === "stopping"))
  stop.signal("SIGINT")
  const { stderr, exit } = await stop.ended
  expect(exit).toBe(130)
  expect(stderr).toContain("interrupted: 0 of 3 VMs have ended")
  expect(stderr.match(/interrupted/g)).toHaveLength(1)
  expect((await banger(place, ["kill", "-a"])).exit).toBe(0)
  expect((await banger(place, ["kill", "-a"])).exit).toBe(0)
  expect(noted(place, "ended")).toHaveLength(3)
})

test("more than a few are counted, on a terminal in one line that is drawn again; rm --all takes what has ended", async () => {
  await bootMany(17)
  await boot(place, { name: "stays" })
  const run = Bun.spawn(["script", "-qec", [...place.program, "stop", ...names(17)].join(" "), "/dev/null"], {
    env: { ...environmentOf(place), PATH: process.env.PATH ?? "", TERM: "xterm" },
    stdin: "ignore",
    stdout: "pipe",
  })
  const shown = await run.stdout.text()
  expect(shown).toContain("\r\x1b[Kstopping 0/17 …")
  expect(shown).toMatch(/\r\x1b\[K\S* *17 VMs have ended/)
  expect(shown.replaceAll(/\r\x1b\[K/g, "").split("\n").length).toBeLessThan(4)
  const { stderr, exit } = await banger(place, ["rm", "--all"])
  expect({ stderr: stderr.split("\n").length, exit }).toEqual({ stderr: 2, exit: 0 })
  expect(stderr).toContain("17 VMs are removed")
  expect(records(place).map(({ name }) => name)).toEqual(["stays"])
  expect(await banger(place, ["rm", "--all", "stays"])).toMatchObject({ exit: 2 })
  expect((await banger(place, ["rm", "-fa", "--quiet"])).stderr).toBe("")
  expect(records(place)).toEqual([])
})

test("stop --all stops VMs that are booted again without end, too", async () => {
  const restart = { policy: "always", limit: 1000, delay: "1ms" }
  for (const name of names(3)) await banger(place, bootWords(place, { script: "RESET PRINT[up]", name, restart }))
  expect((await banger(place, ["stop", "--all"])).exit).toBe(0)
  expect(await listed(place)).toEqual([])
  expect(processesOf(place)).toEqual([])
})
