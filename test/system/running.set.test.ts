import { expect, test } from "bun:test"
import { readFileSync, renameSync } from "node:fs"
import { join } from "node:path"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { banger, type Ended, fixture, type Running, start, startGuest, until } from "./support/banger.ts"
import { kernelOf } from "./support/doubles.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { startLoopback } from "./support/namespace.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { killed, listed } from "./support/vms.ts"

// Memory and limits of a running VM change, whoever asks. A guest without drivers is all that boots on the real one here.

const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

const SIZES = {
  memory: "256M",
  firecracker: { balloon: { amount_mib: 0, deflate_on_oom: true }, memory_hotplug: { total_size_mib: 1024 } },
}

function words(
  spec: object,
  { script = "PRINT[up]", calls = [] }: { script?: string; calls?: readonly unknown[] } = {},
): readonly string[] {
  return [fixture("changing"), "--", kernelOf(place.dir, script), JSON.stringify(spec), JSON.stringify(calls)]
}
async function running(spec: object, options: Parameters<typeof words>[1] = {}): Promise<Running> {
  const run = start(place, ["run", ...words(spec, options)], { ...firecracker.env })
  await run.shows("fc: changed")
  return run
}
const set = (...what: readonly string[]): Promise<Ended> => banger(place, ["set", "fc", ...what])
const socketOf = () => join(place.state, "jail/firecracker", records(place)[0]?.id ?? "", "root/api.sock")

async function asked(path: string): Promise<unknown> {
  return (await fetch(`http://api${path}`, { unix: socketOf() })).json()
}
async function ends(run: Running): Promise<Ended> {
  run.signal("SIGINT")
  return run.ended
}

onBoth(
  "a guest with the drivers gets what is asked for; one without is told of; what cannot be is refused",
  async () => {
    const run = await running(SIZES, { script: firecracker.real ? "PRINT[up]" : "PRINT[up]DRIVERS" })
    const both = await set("memory=512M", "balloon=64M", "--json")
    if (firecracker.real) {
      expect(both).toMatchObject({ exit: 1 })
      expect(both.stderr).toContain("memory=512M")
      const alone = await set("balloon=64M")
      expect(alone.stderr).toContain("balloon=64M: balloon: Firecracker refused it")
      expect(alone.stderr).toContain("the guest has no driver for it, or not yet")
    } else {
      expect(JSON.parse(both.stdout)).toMatchObject({ name: "fc", memoryMiB: 512, balloonMiB: 64 })
      expect(await asked("/hotplug/memory")).toMatchObject({ requested_size_mib: 256 })
      expect(await asked("/balloon")).toMatchObject({ amount_mib: 64 })
    }
    const tooMuch = await set("memory=2G")
    expect(tooMuch).toMatchObject({ exit: 2 })
    expect(tooMuch.stderr).toContain("memory=2048M: more than fc can have")
    expect(tooMuch.stderr).toContain("it can have 256M to 1280M, in steps of 2M")
    expect((await set("balloon=257M")).stderr).toContain("more than the memory that fc was booted with")
    await ends(run)
    expect(await set("balloon=1M")).toMatchObject({
      exit: 1,
      stderr: expect.stringContaining("fc is stopped, not running"),
    })
  },
)

test("two at once follow one another, and wait for whoever else changes the VM", async () => {
  const run = await running(SIZES, { script: "PRINT[up]DRIVERS" })
  const dir = join(place.state, "vms", records(place)[0]?.id ?? "")
  const other = Bun.spawn(["flock", dir, "sh", "-c", "echo mine; exec cat"], { stdin: "pipe", stdout: "pipe" })
  await other.stdout.getReader().read()
  let done = 0
  const both = ["memory=512M", "memory=768M"].map((what) =>
    set(what).then((ended) => {
      done++
      return ended
    }),
  )
  await Bun.sleep(500)
  expect(done).toBe(0)
  expect(await asked("/hotplug/memory")).toMatchObject({ requested_size_mib: 0 })
  other.stdin.end()
  expect((await Promise.all(both)).map(({ exit }) => exit)).toEqual([0, 0])
  const { requested_size_mib } = (await asked("/hotplug/memory")) as { requested_size_mib: number }
  expect([256, 512]).toContain(requested_size_mib)
  await other.exited
  await ends(run)
})

onBoth("a VM with neither has neither, with a jail and without one", async () => {
  for (const jail of [true, false]) {
    const run = await running({ jail })
    const [memory, balloon] = [await set("memory=512M"), await set("balloon=1M")]
    expect(memory).toMatchObject({ exit: 2 })
    expect(memory.stderr).toContain("memory=512M: fc has 256M, to which none can be plugged in")
    expect(balloon).toMatchObject({ exit: 2 })
    expect(balloon.stderr).toContain("balloon=1M: fc has no balloon")
    await ends(run)
    await banger(place, ["rm", "fc"])
  }
})

const mount = cgroupMount()
const controllers = mount === undefined ? "" : readFileSync(join(mount, "cgroup.controllers"), "utf8")
const lacking = ["memory", "cpu", "pids"].filter((one) => !controllers.split(/\s/).includes(one))
const limits = async () => JSON.parse((await banger(place, ["inspect", "fc"])).stdout).limits

if (lacking.length > 0)
  onBoth(`limits that this host lacks (${lacking.join(", ")}) are refused by their names`, async () => {
    const run = await running({})
    const refused = await set("limits.memory=1G", `limits.cpus=0.5`, "limits.pids=100", "--json")
    expect(refused).toMatchObject({ exit: 1, stdout: "" })
    expect(refused.stderr).toContain(`limits: cgroup v2 at ${mount} has no ${lacking.join(", ")} controller`)
    expect(await limits()).toMatchObject({ memoryBytes: null, cpus: null, pids: null, io: [] })
    await ends(run)
    expect(await limits()).toBe(null)
  })
else
  onBoth("limits of the cgroup change while the VM runs, as far as it fits in them, and go with the boot", async () => {
    const run = await running({ limits: { memory: "1G" } })
    const changed = await set("limits.memory=600M", "limits.cpus=0.5", "limits.pids=64", "--json")
    expect(JSON.parse(changed.stdout)).toMatchObject({ limits: { memoryBytes: 600 << 20, cpus: 0.5, pids: 64 } })
    expect(await limits()).toMatchObject({ memoryBytes: 600 << 20, cpus: 0.5, pids: 64 })
    expect((await set("limits.memory=256M")).stderr).toContain("needs more than the 256M of its guest")
    expect((await set("limits.pids=1")).stderr).toContain("limits.pids=1: fc has")
    expect(await set("limits.cpus=none", "limits.pids=none")).toMatchObject({ exit: 0 })
    expect(await limits()).toMatchObject({ memoryBytes: 600 << 20, cpus: null, pids: null })
    await ends(run)
  })

onBoth("a device that is none, and a VM that has ended, have no limits to change", async () => {
  const run = await running({})
  expect((await set("limits.io=/dev/null,readOps=1")).stderr).toContain("/dev/null is not a block device")
  expect((await set("limits.io=/dev/nothing,readOps=1")).exit).not.toBe(0)
  await ends(run)
  expect((await set("limits.cpus=1")).stderr).toContain("fc is stopped, not running")
})

test("a VM on QEMU has limits as well; its memory stays", async () => {
  const name = "linux"
  const run = startGuest(place, "echo up; sleep 600", { vmm: "qemu" }, ["--name", name])
  await run.shows("up")
  const memory = await banger(place, ["set", name, "memory=1G"])
  expect(memory.stderr).toContain("runs on qemu, whose guests keep the memory that they were booted with")
  const cpus = await banger(place, ["set", name, "limits.cpus=0.5"])
  if (lacking.includes("cpu")) expect(cpus.stderr).toContain(`limits: cgroup v2 at ${mount} has no cpu controller`)
  else expect(cpus).toMatchObject({ exit: 0 })
  expect(await banger(place, ["kill", name])).toMatchObject({ exit: 0 })
  await run.ended
})

onBoth("it works while nobody watches, and asks nobody but the VMM", async () => {
  const ready = await banger(place, ["run", "--detach", ...words(SIZES)], { ...firecracker.env })
  expect(ready).toMatchObject({ exit: 0 })
  const [vm] = await listed(place)
  await killed(vm?.supervisor)
  expect((await set("balloon=1M")).stderr).toContain("balloon=1M: balloon: Firecracker refused it")
  // Whoever may write there puts a socket of its own in the place.
  const path = socketOf()
  renameSync(path, `${path}.away`)
  const rogue = Bun.listen({ unix: path, socket: { data() {} } })
  const fooled = await set("balloon=1M")
  rogue.stop(true)
  renameSync(`${path}.away`, path)
  expect(fooled).toMatchObject({ exit: 1 })
  expect(fooled.stderr).toContain(`process ${process.pid} listens on api.sock, not the VMM`)
  expect(await banger(place, ["stop", "fc"])).toMatchObject({ exit: 0 })
  await until(() => processesOf(place).length === 0)
})

onBoth("limits of the network card and of a drive change while the VM runs", async () => {
  startLoopback()
  const limit = { bandwidth: { size: 1_000_000, refill_time: 100 } }
  const run = await running(
    { network: true },
    {
      calls: [
        ["network.update", { rx_rate_limiter: limit, tx_rate_limiter: { ops: { size: 10, refill_time: 100 } } }],
        ["network.update", { tx_rate_limiter: { ops: { size: 0, refill_time: 0 } } }],
      ],
    },
  )
  expect(await asked("/vm/config")).toMatchObject({
    "network-interfaces": [{ rx_rate_limiter: limit, tx_rate_limiter: null }],
  })
  expect((await ends(run)).stderr).not.toContain("refused")
})
