import { beforeAll, expect, test } from "bun:test"
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { banger, bangerElsewhere, start, until } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { doubleWords, listed } from "./support/vms.ts"

// As where containers have no cgroup v2: its empty cgroup would prove a VM gone.
beforeAll(() => {
  for (let mount = cgroupMount(); mount !== undefined; mount = cgroupMount()) Bun.spawnSync(["umount", "-l", mount])
})

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

/** A VM in a container of its own, whose first process is its banger; `end` ends all of it at once. */
async function inContainer(fields: object = {}) {
  const through = ["unshare", "--pid", "--fork", "--mount-proc"]
  const run = start(place, doubleWords(place, [], "PRINT[guest-is-up]", fields), firecracker.env, { through })
  await run.shows("guest-is-up")
  await until(() => records(place)[0]?.state === "running")
  const id = records(place)[0]?.id ?? ""
  const end = async () => {
    const first = readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, "latin1").trim()
    process.kill(Number(first), "SIGKILL")
    await run.ended
    await until(() => processesOf(place).length === 0)
  }
  return { id, end }
}

const ELSEWHERE = "it was started in another PID namespace"

onBoth(
  "what its container's end has ended is finished from any other: by sweep, rm, stop, and a new VM of its name",
  async () => {
    for (const look of [bangerElsewhere, banger])
      for (const words of [["sweep"], ["rm", "double"], ["stop", "double"]]) {
        const { end } = await inContainer()
        // While it runs, from everywhere: left alone, and the way out is named.
        const refused = await look(place, ["rm", "double"])
        expect(refused.exit).toBe(1)
        expect(records(place)).toMatchObject([{ state: "running" }])
        await end()
        const ended = await look(place, words)
        expect({ words, ...ended }).toMatchObject({ exit: 0 })
        expect(await look(place, ["rm", "--all"])).toMatchObject({ exit: 0 })
        expect(records(place)).toEqual([])
      }
  },
)

onBoth(
  "one that runs on without its supervisor is told from one that has ended: nobody else holds its console",
  async () => {
    const { end } = await inContainer()
    await using other = await lastingContainer()
    const [before] = await listed(place)
    const supervisor = before?.supervisor
    if (supervisor !== undefined) process.kill(supervisor, "SIGSTOP")
    const { stdout } = await other.look(["ps", "--json"])
    expect(JSON.parse(stdout)).toMatchObject([{ liveness: "unknown", why: ELSEWHERE }])
    expect((await other.look(["forget", "--yes", "double"])).stderr).toContain("banger stop")
    await end()
    const { stdout: later } = await other.look(["ps", "--json"])
    expect(JSON.parse(later)).toMatchObject([{ liveness: "dead", why: "nobody holds its console any more" }])
    expect((await bangerElsewhere(place, ["rm", "double"])).exit).toBe(0)
  },
)

/**
 * A container that is there while another one ends, so that its namespace has not that one's number, as one has by chance that is made
 * afterwards; `look` runs banger in it.
 */
async function lastingContainer() {
  const unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
  const child = Bun.spawn([...unshare, "sh", "-c", "echo; exec sleep 600"], { stdout: "pipe" })
  await child.stdout.getReader().read()
  const first = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "latin1").trim()
  const through = ["nsenter", "--target", first, "--pid", "--mount"]
  const look = (words: readonly string[]) => start(place, words, {}, { through }).ended
  const dispose = async () => {
    child.kill("SIGKILL")
    await child.exited
  }
  return { look, [Symbol.asyncDispose]: dispose }
}

/** Runs banger where the boot has another id: a container of systemd-nspawn has one of its own mounted. */
function bangerOfOtherBoot(args: readonly string[]) {
  const file = join(place.dir, "boot_id")
  writeFileSync(file, `${crypto.randomUUID()}\n`)
  const script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id; exec "$@"'
  return start(place, args, {}, { through: ["unshare", "--mount", "sh", "-c", script, file] }).ended
}

onBoth(
  "a VM that runs is not taken for one of an earlier boot where a container has a boot id of its own",
  async () => {
    const run = start(place, doubleWords(place, ["--supervise=none"], "PRINT[up]"), firecracker.env)
    expect((await run.ended).exit).toBe(0)
    const [{ pid, id = "" } = {}] = await listed(place)
    for (const words of [
      ["sweep", "--grace", "0s"],
      ["rm", id],
      ["stop", id],
      ["ps", "--reconcile"],
    ]) {
      const { exit, stderr, stdout } = await bangerOfOtherBoot(words)
      expect({ words, exit, said: stdout + stderr }).toMatchObject({
        exit: 1,
        said: expect.stringContaining("its console"),
      })
      expect(await listed(place)).toMatchObject([{ id, pid, state: "running", liveness: "alive" }])
    }
    const given = await bangerOfOtherBoot(["forget", "--yes", id])
    expect(given).toMatchObject({ exit: 1, stderr: expect.stringContaining("another container: a process holds") })
    expect(await listed(place)).toMatchObject([{ id, pid, state: "running", liveness: "alive" }])
    process.kill(pid ?? 0, "SIGKILL")
    // Its threads may be ending still, and hold what it held.
    const console = join(place.state, "vms", id, "console.log")
    await until(() => Bun.spawnSync(["flock", "--nonblock", console, "true"]).exitCode === 0)
    // Whatever its id is, nothing of it runs.
    expect(await bangerOfOtherBoot(["rm", "-f", id])).toMatchObject({ exit: 0 })
    expect(records(place)).toEqual([])
  },
)

test("where nothing proves it, the record is given up by who says so, in words that name what is given up", async () => {
  const { id, end } = await inContainer()
  await using other = await lastingContainer()
  await end()
  // As older bangers left it.
  rmSync(join(place.state, "vms", id, "console.held"))
  const stopped = await other.look(["stop", "double"])
  expect(stopped.stderr).toContain(ELSEWHERE)
  expect(stopped.stderr).toContain(`if that is gone: banger forget ${id}`)
  const unasked = await other.look(["forget", id])
  expect(unasked).toMatchObject({ exit: 2 })
  expect(unasked.stderr).toContain(`banger forget --yes ${id}`)
  expect(records(place)).toHaveLength(1)
  const forgotten = await other.look(["forget", "--yes", "--json", id])
  expect(forgotten.exit).toBe(0)
  const { givenUp, ...said } = JSON.parse(forgotten.stdout)
  expect(said).toEqual({ id, name: "double", removed: true, why: ELSEWHERE })
  expect(givenUp).toEqual([
    expect.stringContaining(join(place.runtime, id)),
    expect.stringMatching(/^its jail: .*\/jail\/firecracker\/double/),
    expect.stringMatching(/^its VMM, if it still runs \(process \d+ where it was started\)$/),
  ])
  expect(records(place)).toEqual([])
  expect(existsSync(join(place.state, "vms", id))).toBe(false)
  // From the first PID namespace all processes are seen: what is left is nobody's.
  expect((await banger(place, ["sweep", "--grace", "0s"])).exit).toBe(0)
  expect(readdirSync(place.runtime).filter((name) => name.startsWith("double"))).toEqual([])
})

test("from the first PID namespace a container's end is seen without any lock", async () => {
  const { id, end } = await inContainer()
  rmSync(join(place.state, "vms", id, "console.held"))
  await end()
  expect(await listed(place)).toMatchObject([{ liveness: "dead", why: "no process of its PID namespace is left" }])
  const refused = await banger(place, ["forget", "--yes", id])
  expect(refused).toMatchObject({ exit: 1 })
  expect(refused.stderr).toContain(`banger rm ${id}`)
  expect((await banger(place, ["rm", id])).exit).toBe(0)
})
