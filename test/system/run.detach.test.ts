import { beforeAll, expect, test } from "bun:test"
import { copyFileSync, existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, bangerElsewhere, fixture, start, until } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildDoubles, type Doubles, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { doubleWords, listed, noted, runDouble } from "./support/vms.ts"

const newDirectory = directoriesOfFile()

let doubles: Doubles
beforeAll(() => {
  doubles = buildDoubles(newDirectory())
})
const place = eachInItsPlace()
const alive = (pid: number) =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))

test("run --detach prints the name and returns; nobody who reads its output waits for the VM; stop ends both", async () => {
  // `banger` reads both outputs to their end: a descriptor of them left in the supervisor would hold it here.
  const { stdout, exit } = await runDouble(place, doubles)
  expect({ stdout, exit }).toEqual({ stdout: "double\n", exit: 0 })
  const [vm] = await listed(place)
  expect(vm).toMatchObject({ name: "double", state: "running", liveness: "alive", pid: processesOf(place)[0] })
  const links = readdirSync(`/proc/${vm?.supervisor}/fd`)
  expect(links.length).toBeGreaterThan(3)
  expect((await banger(place, ["logs", "double", "--supervisor"])).exit).toBe(0)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  expect(processesOf(place)).toEqual([])
  await until(() => !alive(vm?.supervisor ?? 0))
  expect(noted(place, "ended")).toEqual([vm?.id ?? ""])
})

test("a detached start that fails tells why, with its exit code, and leaves no log beside the VMs", async () => {
  const kernel = kernelOf(place.dir)
  const words = ["run", "--detach", fixture("firecracker"), "--", kernel, "{}", "400 /boot-source"]
  const failed = await banger(place, words, { ...doubles.env })
  expect(failed.stderr).toContain("kernel: Firecracker refused it: A fault of the test.")
  expect(failed).toMatchObject({ stdout: "", exit: 1 })
  const refused = await runDouble(place, doubles, ["--detach"], "", { vcpus: 0 })
  expect(refused.stderr).toContain("vcpus is 0")
  expect(refused.exit).toBe(2)
  expect(readdirSync(join(place.state, "vms")).filter((name) => name.startsWith("."))).toEqual([])
})

test("Ctrl-C while a detached VM boots ends that boot", async () => {
  const words = ["run", "--detach", fixture("firecracker"), "--", kernelOf(place.dir), "{}", "hang /boot-source"]
  const booting = start(place, words, { ...doubles.env })
  await until(() => processesOf(place).length > 0)
  booting.signal("SIGINT")
  const { stdout, exit } = await booting.ended
  expect({ stdout, exit }).toEqual({ stdout: "", exit: 130 })
})

test("SIGHUP to a detached supervisor ends nothing", async () => {
  await runDouble(place, doubles)
  const [vm] = await listed(place)
  process.kill(vm?.supervisor ?? 0, "SIGHUP")
  // The next signal is heard after that one.
  expect(await listed(place)).toMatchObject([{ state: "running", supervisor: vm?.supervisor }])
  // Nor to one that took it over.
  process.kill(vm?.supervisor ?? 0, "SIGKILL")
  await until(() => !alive(vm?.supervisor ?? 0))
  expect((await banger(place, ["supervise", "--detach", "double"])).exit).toBe(0)
  const [again] = await listed(place)
  process.kill(again?.supervisor ?? 0, "SIGHUP")
  expect(await listed(place)).toMatchObject([{ state: "running", supervisor: again?.supervisor }])
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  expect(noted(place, "ended")).toHaveLength(1)
})

test("killing the supervisor leaves the VM; supervise takes it over with the same process, and to the end", async () => {
  await runDouble(place, doubles)
  const [vm] = await listed(place)
  process.kill(vm?.supervisor ?? 0, "SIGKILL")
  await until(() => !alive(vm?.supervisor ?? 0))
  expect(await listed(place)).toMatchObject([{ liveness: "alive", pid: vm?.pid, state: "running" }])
  expect((await listed(place))[0]?.supervisor).toBeUndefined()
  expect((await banger(place, ["ps"])).stdout).toContain("running, unsupervised")
  const supervised = await banger(place, ["supervise", "--detach", "double"])
  expect(supervised).toMatchObject({ stdout: "double\n", exit: 0 })
  const [again] = await listed(place)
  expect(again).toMatchObject({ id: vm?.id, pid: vm?.pid, state: "running" })
  expect(again?.supervisor).not.toBe(vm?.supervisor)
  const second = await banger(place, ["supervise", "double"])
  expect(second).toMatchObject({ exit: 1 })
  expect(second.stderr).toContain("has a supervisor")
  const waiting = start(place, ["wait", "double"])
  process.kill(vm?.pid ?? 0, "SIGKILL")
  const { stdout, exit } = await waiting.ended
  expect(stdout).toContain("killed (SIGKILL)")
  expect(exit).toBe(1)
  expect(noted(place, "ended")).toEqual([vm?.id ?? ""])
})

test("--supervise=none leaves no process of banger; wait finishes the VM when it ends; what needs one is refused", async () => {
  const { stdout, exit } = await runDouble(place, doubles, ["--supervise=none"])
  expect({ stdout, exit }).toEqual({ stdout: "double\n", exit: 0 })
  const [vm] = await listed(place)
  expect(vm).toMatchObject({ state: "running", liveness: "alive" })
  expect(vm?.supervisor).toBeUndefined()
  const waiting = start(place, ["wait", "--json", "double"])
  await Bun.sleep(100)
  process.kill(vm?.pid ?? 0, "SIGKILL")
  const ended = await waiting.ended
  expect(JSON.parse(ended.stdout)).toMatchObject({ state: "failed", exit: { requested: false }, error: { code: "VM_FAILED" } })
  expect(noted(place, "ended")).toEqual([vm?.id ?? ""])
  const refused = await runDouble(place, doubles, ["--supervise=none"], "", { restart: "always" })
  expect(refused.stderr).toContain("restart needs a supervisor")
  expect(refused.exit).toBe(2)
})

test("stop has a time limit of its own, kill does not ask; both are fine with what has ended", async () => {
  await runDouble(place, doubles, ["--detach"], "DEAF PRINT[up]")
  expect((await banger(place, ["stop", "--timeout", "200ms", "double"])).exit).toBe(0)
  await runDouble(place, doubles, ["--detach"], "DEAF PRINT[up]")
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  const [vm] = records(place)
  expect(JSON.parse((await banger(place, ["inspect", "double"])).stdout)).toMatchObject({
    id: vm?.id,
    exit: { reason: "killed", requested: true },
    postStop: { begun: 1, done: 1 },
    journal: { journal: [], troubles: [] },
  })
  expect((await banger(place, ["stop", "nothing"])).exit).toBe(2)
})

test("restart runs the same again under the same name, with a new id", async () => {
  await runDouble(place, doubles)
  const [vm] = await listed(place)
  const { stdout, exit } = await banger(place, ["restart", "double"], { ...doubles.env })
  expect({ stdout, exit }).toEqual({ stdout: "double\n", exit: 0 })
  const [again] = await listed(place)
  expect(again).toMatchObject({ name: "double", state: "running" })
  expect(again?.id).not.toBe(vm?.id)
  expect((await banger(place, ["rm", "-f", "double"])).exit).toBe(0)
})

test("restart leaves a VM running whose plugin can no longer be run", async () => {
  const plugin = join(place.dir, "plugin.ts")
  copyFileSync(fixture("double"), plugin)
  const words = doubleWords(place, ["--detach"]).map((word) => (word === fixture("double") ? plugin : word))
  expect((await banger(place, words, { ...doubles.env })).exit).toBe(0)
  const before = await listed(place)
  writeFileSync(plugin, "no plugin")
  const { stderr, exit } = await banger(place, ["restart", "double"], { ...doubles.env })
  expect(stderr).toContain("double is left as it is")
  expect(exit).toBe(2)
  expect(await listed(place)).toEqual(before)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
})

test("a VM of another PID namespace is not attached to", async () => {
  await runDouble(place, doubles, ["--supervise=none"])
  const { stderr, exit } = await bangerElsewhere(place, ["attach", "double"])
  expect(stderr).toContain("it was started in another PID namespace")
  expect(stderr).toContain("got no supervisor: not attached")
  expect(exit).toBe(1)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
})

test("a VM that fails is booted again so many times as its policy says, and no more; stop ends the waiting", async () => {
  const restart = { policy: "on-failure", limit: 2, delay: "50ms" }
  await runDouble(place, doubles, ["--detach"], "PRINT[up]", { restart })
  const seen = new Set<string>()
  for (let round = 0; round < 3; round++) {
    await until(() => noted(place, "booted").length === round + 1)
    const [vm] = (await listed(place)).filter(({ liveness }) => liveness === "alive")
    seen.add(vm?.id ?? "")
    process.kill(vm?.pid ?? 0, "SIGKILL")
    await until(() => noted(place, "ended").length === round + 1)
  }
  expect(seen.size).toBe(3)
  await until(() => records(place).every(({ state }) => state === "failed"))
  expect(noted(place, "booted").length).toBe(3)
  await runDouble(place, doubles, ["--detach"], "PRINT[up]", {
    name: "slow",
    restart: { policy: "always", delay: "1h" },
  })
  const [slow] = await listed(place)
  process.kill(slow?.pid ?? 0, "SIGKILL")
  await until(() => records(place).some(({ id, state }) => id === slow?.id && state === "failed"))
  await until(() =>
    Bun.spawnSync([join(import.meta.dir, "../../dist/banger"), "ps"], { env: envOf() }).stdout.includes("restarting"),
  )
  expect((await banger(place, ["stop", "slow"])).exit).toBe(0)
  expect(await listed(place)).toEqual([])
})

test("a VM whose supervisor was killed, and that another took over, is booted again as its policy says", async () => {
  await runDouble(place, doubles, ["--detach"], "PRINT[up]", { restart: { policy: "always", delay: "50ms" } })
  const [vm] = await listed(place)
  process.kill(vm?.supervisor ?? 0, "SIGKILL")
  await until(() => !alive(vm?.supervisor ?? 0))
  expect((await banger(place, ["supervise", "--detach", "double"], { ...doubles.env })).exit).toBe(0)
  process.kill(vm?.pid ?? 0, "SIGKILL")
  await until(() => noted(place, "booted").length === 2)
  await until(() => records(place).filter(({ state }) => state === "running").length === 1)
  const [again] = (await listed(place)).filter(({ liveness }) => liveness === "alive")
  expect(again?.id).not.toBe(vm?.id)
  expect((await banger(place, ["stop", again?.id ?? ""])).exit).toBe(0)
  expect(noted(place, "ended").toSorted()).toEqual([vm?.id ?? "", again?.id ?? ""].toSorted())
  await until(() => Bun.spawnSync([binary, "ps"], { env: envOf() }).stdout.toString().split("\n").length === 2)
})

const binary = join(import.meta.dir, "../../dist/banger")

function envOf(): Record<string, string> {
  return { BANGER_STATE_DIR: place.state, BANGER_RUNTIME_DIR: place.runtime }
}

test("the binary is replaced while VMs run: nothing changes for them, and the new one stops them", async () => {
  const old = join(place.dir, "banger")
  copyFileSync(join(import.meta.dir, "../../dist/banger"), old)
  const run = Bun.spawnSync([old, ...doubleWords(place, ["--detach"])], { env: { ...doubles.env, ...envOf() } })
  expect(run.stdout.toString()).toBe("double\n")
  const [vm] = await listed(place)
  copyFileSync(join(import.meta.dir, "../../dist/banger"), `${old}.new`)
  renameSync(`${old}.new`, old)
  expect(await listed(place)).toEqual([vm] as never)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  expect(noted(place, "ended")).toEqual([vm?.id ?? ""])
})

test("attach sends what it reads to the guest and shows what that says; the VM's end ends it", async () => {
  await runDouble(place, doubles)
  const attached = start(place, ["attach", "double"])
  await attached.shows("up")
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  const { stderr, exit } = await attached.ended
  expect(stderr).toContain("double has ended")
  expect(exit).toBe(0)
})

test("logs -f goes on to the VM's end, events -f tells of VMs to come, ps --watch shows changes", async () => {
  const events = start(place, ["events", "--follow"])
  const watching = start(place, ["ps", "--watch"])
  await watching.shows("NAME")
  await runDouble(place, doubles)
  const logs = start(place, ["logs", "--follow", "double"])
  await logs.shows("up")
  await events.shows('"state":"running"')
  await watching.shows("running")
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  expect((await logs.ended).exit).toBe(0)
  await events.shows('"state":"stopped"')
  for (const running of [events, watching]) {
    running.signal("SIGTERM")
    await running.ended
  }
})
