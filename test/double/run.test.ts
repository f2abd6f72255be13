import { expect, test } from "bun:test"
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, fixture, start, until } from "../system/support/banger.ts"
import { kernelOf } from "../system/support/doubles.ts"
import { processesOf, records } from "../system/support/place.ts"
import { killed, listed, noted, signal } from "../system/support/vms.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot, bootWords, heldWords, hold, hooksOf } from "./support/vms.ts"

const place = eachOnDoubles()

/** The words that run a VM whose double of Firecracker does wrong at one point. */
const faulty = (flags: readonly string[], fault: string) => {
  const spec = JSON.stringify({ ...place.spec, timeouts: { start: "5s" } })
  return ["run", ...flags, fixture("firecracker"), "--", kernelOf(place.dir), spec, fault]
}

test.each([
  ["resets", "RESET PRINT[up]", 0, "stopped"],
  ["powers off", "HALT PRINT[up]", 0, "stopped"],
  ["crashes", "TRIPLE PRINT[up]", 1, "failed"],
] as const)(
  "a guest that %s: its console is shown, and the exit status is the run's",
  async (_, script, status, state) => {
    const { stdout, exit } = await banger(place, bootWords(place, { flags: [], script }))
    expect(stdout).toContain("up")
    expect(exit).toBe(status)
    expect(records(place)).toMatchObject([{ state }])
    expect(noted(place, "ended")).toHaveLength(1)
  },
)

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
  ["SIGQUIT", 131],
  ["SIGUSR1", 138],
  ["SIGUSR2", 140],
  ["SIGALRM", 142],
] as const)("%s stops it, and the exit status says so", async (signal, status) => {
  const run = start(place, bootWords(place, { flags: [] }))
  await run.shows("up")
  run.signal(signal)
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("guest reset, as asked")
  expect(exit).toBe(status)
  expect(records(place)).toMatchObject([{ state: "stopped" }])
})

const ignoring = (signal: string) => ({ through: ["env", `--ignore-signal=${signal}`] })

test("a hang-up that the caller ignores (nohup) is ignored", async () => {
  const run = start(place, bootWords(place, { flags: [] }), {}, ignoring("HUP"))
  await run.shows("up")
  run.signal("SIGHUP")
  run.signal("SIGTERM")
  const { stderr, exit } = await run.ended
  expect(stderr).not.toContain("stopping at once")
  expect(exit).toBe(143)
})

test("a caller that ignores the end of its children does not make a good end a bad one", async () => {
  const { stderr, exit } = await start(place, bootWords(place, { flags: [], script: "RESET" }), {}, ignoring("CHLD"))
    .ended
  expect(stderr).toContain("guest reset")
  expect(exit).toBe(0)
})

test("SIGINT during a plugin's top-level await ends it there and then", async () => {
  const plugin = join(place.dir, "slow.ts")
  writeFileSync(plugin, 'console.log("loading")\nawait Bun.sleep(3000)\nconsole.log("loaded")\nexport default {}\n')
  const run = start(place, ["run", plugin])
  await run.shows("loading")
  run.signal("SIGINT")
  const { stdout, exit } = await run.ended
  expect(stdout).not.toContain("loaded")
  expect(exit).toBe(130)
})

test("a second SIGINT kills at once", async () => {
  const run = start(place, bootWords(place, { flags: [], script: "DEAF PRINT[deaf]", timeouts: { stop: "10m" } }))
  await run.shows("deaf")
  run.signal("SIGINT")
  await until(() => records(place)[0]?.state === "stopping")
  run.signal("SIGINT")
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("stopping at once")
  expect(exit).toBe(130)
})

test.each(["preBoot", "postBoot", "postStop"] as const)(
  "SIGINT while %s runs ends the hook and the VM",
  async (hook) => {
    hold(place, hook)
    const run = start(place, heldWords(place, { flags: [] }))
    await until(() => processesOf(place).length > 0 || hook === "preBoot")
    if (hook === "postStop") await killed(processesOf(place)[0])
    await until(() => hooksOf(place).includes(hook))
    run.signal("SIGINT")
    expect((await run.ended).exit).toBe(130)
    expect(hooksOf(place).filter((name) => name === "postStop")).toHaveLength(1)
  },
)

test("--timeout stops a VM that runs too long, as a failure; what the user got wrong is status 2 and makes nothing", async () => {
  const { stderr, exit } = await banger(place, bootWords(place, { flags: ["--timeout", "300ms"] }))
  expect(stderr).toContain("the VM still ran after 300ms")
  expect(exit).toBe(124)
  const wrong = await banger(place, bootWords(place, { flags: [], vcpus: 0 }))
  expect(wrong.stderr).toContain("vcpus is 0")
  expect(wrong.exit).toBe(2)
  expect(records(place)).toHaveLength(1)
})

test("a failed start is kept for inspection when asked, with the command that removes it", async () => {
  const { stderr, exit } = await banger(place, faulty(["--keep-on-failure"], "400 /boot-source"))
  const [record] = records(place)
  expect(stderr).toContain(`to remove it: banger rm -f ${record?.id}`)
  expect(exit).toBe(1)
  expect((await banger(place, ["stop", record?.id ?? ""])).exit).toBe(1)
  expect((await banger(place, ["rm", "-f", record?.id ?? ""])).exit).toBe(0)
})

test("of several runs with one name, exactly one gets it", async () => {
  const runs = Array.from({ length: 3 }, () => banger(place, bootWords(place)))
  const ended = await Promise.all(runs)
  const losers = ended.filter(({ exit }) => exit === 1)
  expect(ended.filter(({ exit }) => exit === 0)).toHaveLength(1)
  expect(losers).toHaveLength(2)
  for (const { stderr } of losers) expect(stderr).toContain("the name double is taken by VM double-")
  expect((await banger(place, ["rm", "-f", "double"])).exit).toBe(0)
})

test("run --detach prints the name and returns; nobody who reads its output waits for the VM", async () => {
  // `banger` reads both outputs to their end: a descriptor of them left in the supervisor would hold it here.
  const { pid, supervisor } = await boot(place)
  const [vm] = await listed(place)
  expect(vm).toMatchObject({ name: "double", state: "running", liveness: "alive", pid, supervisor })
  expect(readdirSync(`/proc/${supervisor}/fd`).length).toBeGreaterThan(3)
  expect((await banger(place, ["logs", "double", "--supervisor"])).exit).toBe(0)
  // It has no terminal that could go; what comes after the signal is heard after it.
  signal(supervisor, "SIGHUP")
  expect(await listed(place)).toMatchObject([{ state: "running", supervisor }])
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  expect(noted(place, "ended")).toHaveLength(1)
})

test("a detached start that fails tells why, with its exit code, and leaves no log beside the VMs", async () => {
  const failed = await banger(place, faulty(["--detach"], "400 /boot-source"))
  expect(failed.stderr).toContain("kernel: Firecracker refused it: A fault of the test.")
  expect(failed).toMatchObject({ stdout: "", exit: 1 })
  const refused = await banger(place, bootWords(place, { vcpus: 0 }))
  expect(refused.stderr).toContain("vcpus is 0")
  expect(refused.exit).toBe(2)
  expect(readdirSync(join(place.state, "vms")).filter((name) => name.startsWith("."))).toEqual([])
})

test("Ctrl-C while a detached VM boots ends that boot", async () => {
  const booting = start(place, faulty(["--detach"], "hang /boot-source"))
  await until(() => processesOf(place).length > 0)
  booting.signal("SIGINT")
  const { stdout, exit } = await booting.ended
  expect({ stdout, exit }).toEqual({ stdout: "", exit: 130 })
})

test("--supervise=none leaves no process of banger; a restart policy needs one, and is refused", async () => {
  const { supervisor } = await boot(place, { flags: ["--supervise=none"] })
  expect(supervisor).toBe(0)
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
  const refused = await banger(place, bootWords(place, { flags: ["--supervise=none"], restart: "always" }))
  expect(refused.stderr).toContain("restart needs a supervisor")
  expect(refused.exit).toBe(2)
})

test("what a hook's processes print is no report of the VM, and one that stays holds nobody up", async () => {
  kernelOf(place.dir, "PRINT[up]")
  const run = (what: string) => banger(place, ["run", "--detach", fixture("calling"), "--", place.dir, "preBoot", what])
  expect(await run("print")).toMatchObject({ stdout: "calling\n", exit: 0 })
  expect((await banger(place, ["logs", "--supervisor", "calling"])).stdout).toContain("not the report")
  expect((await banger(place, ["stop", "calling"])).exit).toBe(0)
  const refused = await run("refuse")
  expect(refused).toMatchObject({ stdout: "", exit: 1 })
  expect(refused.stderr).toContain("preBoot threw: refused")
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name))
  const stays = pids.filter((pid) => wordsOf(pid) === "sleep\x00600\x00" && outputOf(pid).startsWith(place.state))
  expect(stays).toHaveLength(1)
  for (const pid of stays) await killed(Number(pid))
})

test.each([
  ["postBoot", ["wait"]],
  ["postBoot", ["logs", "-f"]],
  ["preStop", ["stop"]],
  ["preStop", ["attach"]],
  ["postStop", ["kill"]],
  ["postStop", ["rm", "-f"]],
  ["postStop", ["restart"]],
] as const)("%s calls `banger %p` on its own VM: that is refused by name", async (hook, words) => {
  kernelOf(place.dir, "PRINT[up]")
  const plugin = ["run", "--detach", fixture("calling"), "--", place.dir, hook, ...place.program, ...words]
  expect(await banger(place, plugin)).toMatchObject({ exit: 0 })
  const [vm] = records(place)
  expect((await banger(place, ["stop", "calling"])).exit).toBe(0)
  const { exit, said } = JSON.parse(readFileSync(join(place.dir, "called"), "utf8"))
  expect(said).toContain(`calling (${vm?.id}) cannot be waited for here`)
  expect(exit).toBe(1)
  expect(records(place)).toHaveLength(1)
})

function wordsOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1")
  } catch {
    // It has ended.
    return ""
  }
}

function outputOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/1`)
  } catch {
    // It has ended.
    return ""
  }
}
