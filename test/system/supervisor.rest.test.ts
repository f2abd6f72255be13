import { Database } from "bun:sqlite"
import { expect, test } from "bun:test"
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { monotonicMs } from "../../src/base/linux/clock.ts"
import { banger, fixture, start, until } from "./support/banger.ts"
import { kernelOf } from "./support/doubles.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { killed, listed, noted, runDouble, signal } from "./support/vms.ts"

// A supervisor with nothing to do becomes a program that only waits, and itself again when its VM needs it.

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

/** What a VM's supervisor is called, by ps and by top. */
function calledAs(pid: number | undefined): readonly [args: string, comm: string] {
  const read = (name: string) => readFileSync(`/proc/${pid}/${name}`, "utf8").trim()
  return [read("cmdline").replaceAll("\0", " "), read("comm")]
}

async function resting(flags: readonly string[] = [], script?: string, fields?: object) {
  expect(await runDouble(place, firecracker, ["--detach", ...flags], script, fields)).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  if (vm?.supervisor === undefined) throw new Error("it has no supervisor")
  const { supervisor } = vm
  await until(() => calledAs(supervisor)[0].includes(" __rest ") && calledAs(supervisor)[1] !== "exe")
  return { ...vm, supervisor }
}

/** Who has locked a VM, by its lock. */
function supervisorOf(id: string): number {
  return JSON.parse(readFileSync(join(place.state, "vms", id, "lock"), "utf8")).identity.pid
}

/** How often the threads of a process went to sleep or were put off by now. */
function switchesOf(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((thread) => readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8"))
    .flatMap((status) => [...status.matchAll(/ctxt_switches:\s*(\d+)/g)])
    .reduce((sum, [, count]) => sum + Number(count), 0)
}

onBoth("a supervisor that rests bears its VM's name, has few threads and little memory, and sleeps", async () => {
  const { supervisor } = await resting(["--name", "web"])
  const [args, comm] = calledAs(supervisor)
  expect(args).toStartWith("banger: web __rest web-")
  expect(comm).toBe("banger: web")
  expect(readdirSync(`/proc/${supervisor}/task`).length).toBeLessThanOrEqual(6)
  const anonymous = /^Pss_Anon:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${supervisor}/smaps_rollup`, "utf8"))?.[1]
  expect(Number(anonymous)).toBeLessThan(6 * 1024)
  // The runtime's own threads come to rest a little later.
  await Bun.sleep(1000)
  const before = switchesOf(supervisor)
  await Bun.sleep(3000)
  expect(switchesOf(supervisor) - before).toBeLessThan(3)
  expect((await banger(place, ["stop", "web"])).exit).toBe(0)
  expect(noted(place, "ended").length).toBe(1)
  expect(await listed(place, "--all")).toMatchObject([{ name: "web", state: "stopped" }])
})

onBoth("the end of a VMM whose supervisor rests is told as it was", async () => {
  const { pid, id } = await resting()
  signal(pid, "SIGKILL")
  await until(() => records(place)[0]?.state === "failed")
  const { stdout } = await banger(place, ["inspect", id])
  expect(JSON.parse(stdout).exit).toMatchObject({ reason: "killed", requested: false, signal: "SIGKILL" })
  expect(noted(place, "ended")).toEqual([id])
})

onBoth("the end of a VMM while its supervisor wakes is told as it was", async () => {
  for (let round = 0; round < 6; round++) {
    const name = `wakes-${round}`
    const { pid, id, supervisor } = await resting(["--name", name])
    signal(supervisor, "SIGTERM")
    while (!calledAs(supervisor)[0].includes(" __wake "));
    const at = performance.now() + round * 10
    while (performance.now() < at);
    signal(pid, "SIGKILL")
    await until(() => records(place)[0]?.state === "failed" || records(place)[0]?.state === "stopped")
    const { stdout } = await banger(place, ["inspect", id])
    expect({ round, exit: JSON.parse(stdout).exit }).toMatchObject({
      round,
      exit: { reason: "killed", signal: "SIGKILL" },
    })
  }
})

onBoth("restarts are counted through rests", async () => {
  await resting([], undefined, { restart: { policy: "always", limit: 2, delay: "20ms" } })
  for (let boots = 1; boots <= 3; boots++) {
    await until(() => noted(place, "booted").length === boots)
    await until(() => records(place)[0]?.state === "running")
    const [vm] = (await listed(place)).filter(({ liveness }) => liveness === "alive")
    signal(vm?.pid, "SIGKILL")
    await until(() => noted(place, "ended").length === boots)
  }
  await until(() => records(place).every(({ state }) => state === "failed"))
  expect(noted(place, "booted").length).toBe(3)
})

onBoth("a run's time is up although its supervisor rests", async () => {
  const { id, supervisor } = await resting([], undefined, { timeouts: { run: "1500ms", stop: "1s" } })
  // By a clock that nobody can set.
  const end = Number(/ until=([\d.]+)/.exec(calledAs(supervisor)[0])?.[1])
  expect(Math.abs(end - monotonicMs() - 1500)).toBeLessThan(1500)
  await until(() => records(place)[0]?.state === "failed")
  expect(await banger(place, ["logs", "--supervisor", id])).toMatchObject({
    stdout: expect.stringContaining("still ran after"),
  })
})

test("a console is kept below its limit by a supervisor that rests", async () => {
  const words = "PRINT[up] FLOOD"
  const { id } = await resting([], words, { console: { limit: "64K" }, timeouts: { stop: "1s" } })
  const path = join(place.state, "vms", id, "console.log")
  await until(() => statSync(path).size > 1 << 20)
  await until(() => statSync(path).blocks * 512 < 1 << 20)
  expect((await banger(place, ["stop", id])).exit).toBe(0)
})

test("a log that cannot be kept below its limit wakes its supervisor, which says so", async () => {
  const fields = { console: { limit: "64K" }, timeouts: { stop: "1s" } }
  const { supervisor, id } = await resting([], "PRINT[up] FLOOD", fields)
  const inject = ["strace", "-f", "-o", "/dev/null", "-e", "inject=fallocate:error=EIO", "-p", `${supervisor}`]
  const tracer = Bun.spawn(inject, { stderr: "ignore" })
  await until(() => calledAs(supervisor)[0].includes(" __wake "))
  tracer.kill()
  await tracer.exited
  expect(await listed(place)).toMatchObject([{ id, supervisor, state: "running", liveness: "alive" }])
  expect((await banger(place, ["stop", id])).exit).toBe(0)
})

onBoth("a guest that powers off around the beginning of a rest is ended, and that is told as it was", async () => {
  for (let round = 0; round < 12; round++) {
    const name = `off-${round}`
    const flags = ["--detach", "--name", name]
    expect(await runDouble(place, firecracker, flags, "PRINT[up] HALT")).toMatchObject({ exit: 0 })
    await until(() => records(place).every(({ state }) => state === "stopped" || state === "failed"))
    const { stdout } = await banger(place, ["inspect", name])
    const { state, exit } = JSON.parse(stdout)
    expect({ name, state, reason: exit.reason }).toEqual({ name, state: "stopped", reason: "guest powered off" })
  }
})

onBoth(
  "a guest that has powered off is told as such also where its VMM has gone before its supervisor wakes",
  async () => {
    const { pid, id, supervisor } = await resting()
    signal(supervisor, "SIGSTOP")
    appendFileSync(join(place.state, "vms", id, "console.log"), "[    1.000000] reboot: Power down\n")
    signal(pid, "SIGKILL")
    signal(supervisor, "SIGCONT")
    await until(() => ["stopped", "failed"].includes(records(place)[0]?.state ?? ""))
    const { stdout } = await banger(place, ["inspect", id])
    expect(JSON.parse(stdout).exit).toMatchObject({ reason: "guest powered off", requested: false, signal: "SIGKILL" })
    expect(noted(place, "ended")).toEqual([id])
  },
)

onBoth("one that is killed in its rest is followed by another, which rests no more", async () => {
  const { supervisor, id } = await resting()
  await killed(supervisor)
  expect((await banger(place, ["supervise", "--detach", id], { ...firecracker.env })).exit).toBe(0)
  expect((await banger(place, ["stop", id])).exit).toBe(0)
  expect(noted(place, "ended")).toEqual([id])
})

onBoth("a plugin that was edited while its supervisor rested still has the hooks it was booted with", async () => {
  const file = join(place.dir, "edited.ts")
  const kernel = JSON.stringify(kernelOf(place.dir, "PRINT[up]"))
  const plugin = (word: string) =>
    `export default { name: "edited", kernel: ${kernel}, vmm: "firecracker", postStop(ctx) { ctx.log.info("${word}") } }`
  for (const edited of [plugin("edited"), "no plugin"]) {
    writeFileSync(file, plugin("as booted"))
    expect((await banger(place, ["run", "--detach", file], { ...firecracker.env })).exit).toBe(0)
    const [vm] = await listed(place)
    await until(() => calledAs(vm?.supervisor)[0].includes(" __rest "))
    writeFileSync(file, edited)
    expect((await banger(place, ["stop", "edited"])).exit).toBe(0)
    const { stdout } = await banger(place, ["logs", "--supervisor", vm?.id ?? ""])
    expect(stdout).toContain("as booted")
  }
})

onBoth("a plugin that is gone, with all that it imports, still has its hooks, and is booted again", async () => {
  const dir = join(place.dir, "gone")
  const [released, current] = [join(dir, "releases/1"), join(dir, "current")]
  mkdirSync(join(released, "shared"), { recursive: true })
  symlinkSync(released, current)
  writeFileSync(
    join(released, "shared/words.ts"),
    'import { SIGN } from "./sign"\nexport function word(w: string) { return w + SIGN }',
  )
  writeFileSync(join(released, "shared/sign.ts"), 'export const SIGN = "!"')
  const kernel = JSON.stringify(kernelOf(place.dir, "PRINT[up]"))
  writeFileSync(
    join(released, "gone.ts"),
    `import { definePlugin } from "banger"
import { basename } from "node:path"
import { word } from "./shared/words.ts"
export default definePlugin({
  name: "gone", kernel: ${kernel}, vmm: "firecracker", restart: { policy: "always", limit: 1, delay: "10ms" },
  timeouts: { stop: "1s" },
  postStop(ctx) { ctx.log.info(word(\`ended in \${basename(import.meta.dir)}\`)) },
})`,
  )
  expect((await banger(place, ["run", "--detach", join(current, "gone.ts")], { ...firecracker.env })).exit).toBe(0)
  const rests = async () => {
    const [vm] = await listed(place)
    if (vm === undefined) throw new Error("it does not run")
    await until(() => calledAs(vm.supervisor)[0].includes(" __rest "))
    return vm
  }
  const first = await rests()
  rmSync(dir, { recursive: true })
  signal(first.pid, "SIGKILL")
  await until(() => records(place)[0]?.id !== first.id && records(place)[0]?.state === "running")
  const second = await rests()
  expect((await banger(place, ["stop", "gone"])).exit).toBe(0)
  for (const { id } of [first, second])
    expect((await banger(place, ["logs", "--supervisor", id])).stdout).toContain("ended in 1!")
})

onBoth(
  "updated to a banger that keeps more, the old one's supervisor wakes, boots its VM again, and ends it",
  async () => {
    const fields = { restart: { policy: "always", limit: 1, delay: "10ms" }, timeouts: { stop: "1s" } }
    const first = await resting(["--name", "web"], undefined, fields)
    const db = new Database(join(place.state, "state.db"))
    const known = db.query<{ user_version: number }, []>("pragma user_version").get()?.user_version ?? 0
    db.exec(`alter table vms add column later text; pragma user_version = ${known + 1}`)
    try {
      signal(first.pid, "SIGKILL")
      await until(() => records(place)[0]?.id !== first.id && records(place)[0]?.state === "running")
      // To whoever begins something anew it is a newer one's.
      const refused = await banger(place, ["ps"])
      expect(refused.stderr).toContain(`was written by a newer banger (schema ${known + 1}, this one knows ${known})`)
      const second = supervisorOf(records(place)[0]?.id ?? "")
      await until(() => calledAs(second)[0].includes(" __rest "))
      signal(second, "SIGTERM")
      await until(() => records(place)[0]?.state === "stopped")
      await until(() => processesOf(place).length === 0)
    } finally {
      db.exec(`pragma user_version = ${known}`)
      db.close()
    }
  },
)

test("a supervisor of QEMU rests too: it hears why its guest ended, and stops one that runs", async () => {
  const qemu = (name: string, script: string) =>
    banger(place, ["run", "--detach", "--name", name, fixture("guest"), "--", script])
  expect(await qemu("off", "sleep 2; poweroff -f")).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  await until(() => calledAs(vm?.supervisor)[0].includes(" __rest "))
  await until(() => records(place)[0]?.state === "stopped")
  const inspected = JSON.parse((await banger(place, ["inspect", "off"])).stdout)
  expect(inspected.exit).toMatchObject({ reason: "guest powered off", requested: false })
  expect(await qemu("runs", "sleep 600")).toMatchObject({ exit: 0 })
  const [other] = await listed(place)
  await until(() => calledAs(other?.supervisor)[0].includes(" __rest "))
  expect((await banger(place, ["stop", "runs"])).exit).toBe(0)
  const { stdout } = await banger(place, ["logs", "--supervisor", "runs"])
  expect(stdout).toContain("postStop: ")
  expect(stdout).not.toContain("did not stop")
})

test.each([
  ["a variable", "let count = 0\n", "postBoot() { count++ }"],
  ["a timer", "", "postBoot() { setInterval(() => {}, 60_000) }"],
  ["a server", "", 'postBoot(ctx) { Bun.serve({ unix: ctx.args[0], fetch: () => new Response("here") }) }'],
])("a plugin that has %s keeps its supervisor as it is", async (_what, before, hook) => {
  const dir = join(place.dir, "plugin")
  mkdirSync(dir)
  const file = join(dir, "plugin.ts")
  const kernel = kernelOf(place.dir, "PRINT[up]")
  writeFileSync(
    file,
    `${before}export default { name: "full", kernel: ${JSON.stringify(kernel)}, vmm: "firecracker", ${hook} }`,
  )
  const socket = join(dir, "socket")
  expect((await banger(place, ["run", "--detach", file, "--", socket], { ...firecracker.env })).exit).toBe(0)
  await Bun.sleep(500)
  const [vm] = await listed(place)
  const [args, comm] = calledAs(vm?.supervisor)
  expect(args).toStartWith("banger __run ")
  expect(comm).toBe("banger: full")
  expect((await banger(place, ["stop", "full"])).exit).toBe(0)
})

onBoth("a stop that comes at any moment around the beginning of a rest is heard", async () => {
  for (let round = 0; round < 20; round++) {
    const name = `race-${round}`
    const run = start(place, ["run", "--detach", "--name", name, ...wordsOf()], { ...firecracker.env })
    await run.ended
    await Bun.sleep(round)
    expect(await banger(place, ["stop", name])).toMatchObject({ exit: 0 })
  }
  expect(noted(place, "ended").length).toBe(20)
})

onBoth("a bare signal that comes at any moment around the beginning of a rest ends the VM", async () => {
  for (let round = 0; round < 24; round++) {
    const name = `bare-${round}`
    await start(place, ["run", "--detach", "--name", name, ...wordsOf()], { ...firecracker.env }).ended
    // As the lock tells, which a command would take too long to.
    const lock = readFileSync(join(place.state, "vms", records(place)[0]?.id ?? "", "lock"), "utf8")
    const { pid } = JSON.parse(lock).identity
    const at = performance.now() + round
    while (performance.now() < at);
    signal(pid, "SIGTERM")
    await until(() => ["stopped", "failed"].includes(records(place)[0]?.state ?? ""))
  }
  expect(noted(place, "ended").length).toBe(24)
  expect(records(place).every(({ state }) => state === "stopped")).toBe(true)
})

test("one that the kernel lets run no other program stays as it is, with its hooks, and hears signals", async () => {
  // The first time it is how this supervisor itself is started.
  const inject = ["-P", "/proc/self/exe", "-e", "inject=execve:error=EACCES:when=2+"]
  const through = ["strace", "-f", "-qq", "-o", join(place.dir, "trace"), ...inject]
  const words = ["--verbose", "run", "--detach", "--name", "stays", ...wordsOf()]
  const run = start(place, words, { ...firecracker.env }, { through })
  await run.shows("stays\n")
  const [vm] = await listed(place)
  const said = async () => (await banger(place, ["logs", "--supervisor", "stays"])).stdout
  while (!(await said()).includes("cannot rest: execve")) await Bun.sleep(50)
  expect(readFileSync(join(place.dir, "trace"), "utf8")).toContain("EACCES")
  expect(calledAs(vm?.supervisor)[0]).toStartWith("banger __run ")
  signal(vm?.supervisor, "SIGTERM")
  expect(await run.ended).toMatchObject({ exit: 0 })
  expect(noted(place, "ended")).toEqual([vm?.id ?? ""])
  expect(records(place)).toMatchObject([{ state: "stopped" }])
})

onBoth(
  "one that is killed at any moment around the beginning of a rest, or of a stop, leaves a VM that others end",
  async () => {
    for (let round = 0; round < 16; round++) {
      const name = `killed-${round}`
      await start(place, ["run", "--detach", "--name", name, ...wordsOf()], { ...firecracker.env }).ended
      const [vm] = (await listed(place)).filter((one) => one.name === name)
      if (round % 2 === 1) signal(vm?.supervisor, "SIGTERM")
      await Bun.sleep(round * 3)
      await killed(vm?.supervisor)
      expect({ name, ...(await banger(place, ["stop", name], { ...firecracker.env })) }).toMatchObject({
        name,
        exit: 0,
      })
      expect(noted(place, "ended").filter((one) => one === vm?.id).length, name).toBe(1)
    }
  },
)

function wordsOf(): readonly string[] {
  const plugin = join(import.meta.dir, "../fixtures/plugins/double.ts")
  return [plugin, "--", place.dir, kernelOf(place.dir, "PRINT[up]"), JSON.stringify(place.spec)]
}
