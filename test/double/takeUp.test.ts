import { expect, test } from "bun:test"
import { appendFileSync, copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { banger, start, until } from "../system/support/banger.ts"
import { processesOf, records } from "../system/support/place.ts"
import { killed, listed, noted } from "../system/support/vms.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot, bootUnsupervised, bootWords, heldWords, hold, hooksOf } from "./support/vms.ts"

// A run of a name whose VM lives without a supervisor.

const place = eachOnDoubles()
const foreground = (how: object = {}) => bootWords(place, { flags: [], ...how })

test("a run as it was goes on with the VM: its console from now on, its end, its hooks once", async () => {
  const { id, pid, supervisor } = await boot(place, { script: "PRINT[before]" })
  await killed(supervisor)
  const run = start(place, foreground({ script: "PRINT[before]" }))
  await run.shows(`runs already (${id}), as it is asked for: watched from now on`)
  expect(processesOf(place)).toEqual([pid])
  appendFileSync(join(place.state, "vms", id, "console.log"), "said later\n")
  await run.shows("said later")
  expect((await listed(place))[0]).toMatchObject({ id, pid, state: "running", supervisor: run.pid })
  run.signal("SIGINT")
  const { stdout, exit } = await run.ended
  expect({ stdout: stdout.slice(0, 11), exit }).toEqual({ stdout: "said later\n", exit: 130 })
  expect(noted(place, "booted")).toEqual([id])
  expect(noted(place, "ended")).toEqual([id])
})

test("killed again and again, its supervisor is followed by another: the guest stays the same", async () => {
  const first = await boot(place)
  let { supervisor } = first
  for (let round = 0; round < 20; round++) {
    await killed(supervisor)
    expect(await banger(place, bootWords(place))).toMatchObject({ stdout: "double\n", exit: 0 })
    const [vm] = await listed(place)
    expect(vm).toMatchObject({ id: first.id, pid: first.pid, liveness: "alive" })
    expect(vm?.supervisor).not.toBe(supervisor)
    supervisor = vm?.supervisor ?? 0
  }
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
  expect(noted(place, "booted")).toEqual([first.id])
  expect(noted(place, "ended")).toEqual([first.id])
})

test("where it is asked for otherwise, what differs is said, and the VM is left as it is", async () => {
  const { id, pid } = await bootUnsupervised(place)
  const other = await banger(place, foreground({ memory: "48M", vcpus: 2 }))
  expect(other.exit).toBe(1)
  expect(other.stderr).toContain(`double runs already (${id}), without a supervisor, and is not what is asked for: `)
  expect(other.stderr).toContain('memory is left out, not "48M"')
  expect(other.stderr).toContain(`to watch it as it is: banger supervise ${id}`)
  const argued = await banger(place, [...foreground(), "more"])
  expect(argued.stderr).toMatch(/arguments is ….*"\], not ….*,"more"\]/)
  expect(processesOf(place)).toEqual([pid])
  expect(records(place)).toMatchObject([{ id, state: "running" }])
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
})

test("a plugin file that has changed is another one; --replace stops the VM and boots the new one", async () => {
  const plugin = join(place.dir, "plugin.ts")
  const words = (...flags: readonly string[]) => {
    const all = foreground()
    return all.flatMap((word) => (word.endsWith("double.ts") ? [...flags, plugin] : [word]))
  }
  copyFileSync(String(foreground().find((word) => word.endsWith("double.ts"))), plugin)
  expect(await banger(place, words("--supervise=none"))).toMatchObject({ exit: 0 })
  const [old] = records(place)
  writeFileSync(plugin, `// changed\n${readFileSync(plugin, "utf8")}`)
  const refused = await banger(place, words())
  expect(refused.stderr).toContain(`its plugin, ${plugin}, was another file`)
  expect(await banger(place, words("--replace", "--detach"))).toMatchObject({ exit: 0 })
  const [next, before] = records(place)
  expect(before).toMatchObject({ id: old?.id, state: "stopped" })
  expect(next).toMatchObject({ state: "running" })
  // One with a supervisor is replaced as well.
  expect(await banger(place, words("--replace", "--detach"))).toMatchObject({ exit: 0 })
  expect(records(place).map(({ state }) => state)).toEqual(["running", "stopped", "stopped"])
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
})

test("a VM with a supervisor keeps its name; one that has died is finished, and a new one is booted", async () => {
  const { id, pid, supervisor } = await boot(place)
  expect((await banger(place, foreground())).stderr).toContain(`the name double is taken by VM ${id}`)
  await killed(supervisor)
  await killed(pid)
  const run = start(place, foreground({ script: "PRINT[anew]" }))
  await run.shows("anew")
  await until(() => records(place).length === 2)
  run.signal("SIGINT")
  await run.ended
  expect(noted(place, "ended")).toContain(id)
})

test("--replace of nothing is a run", async () => {
  expect(await banger(place, [...foreground({ flags: ["--replace", "--detach"] })])).toMatchObject({ exit: 0 })
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
})

test("--replace stops one that is about to restart, and its supervisor with it", async () => {
  const old = await boot(place, { restart: { policy: "always", delay: "60s" } })
  await killed(old.pid)
  await until(() => records(place)[0]?.state === "failed")
  const replaced = await banger(place, foreground({ flags: ["--replace", "--detach"] }))
  expect(replaced).toMatchObject({ stderr: expect.stringContaining("double is about to restart"), exit: 0 })
  await until(() => !existsSync(`/proc/${old.supervisor}`))
  expect(await banger(place, ["stop", "double"])).toMatchObject({ exit: 0 })
})

test("--replace ends a VM of another plugin in a process of its own: one loads one plugin", async () => {
  const words = foreground()
  const path = String(words.find((word) => word.endsWith("double.ts")))
  const other = join(place.dir, "other.ts")
  writeFileSync(other, readFileSync(path, "utf8").replaceAll("ctx.vm.id", "process.pid"))
  const flags = ["--supervise=none", other]
  expect(
    await banger(
      place,
      words.flatMap((word) => (word === path ? flags : [word])),
    ),
  ).toMatchObject({ exit: 0 })
  const run = start(place, foreground({ flags: ["--replace"], script: "PRINT[anew]" }))
  await run.shows("anew")
  const [ender] = noted(place, "ended")
  expect(ender).toMatch(/^\d+$/)
  expect(ender).not.toBe(String(run.pid))
  run.signal("SIGINT")
  await run.ended
})

test("one whose supervisor was ended in a postBoot hook is no VM that runs as it was asked for", async () => {
  hold(place, "postBoot")
  const first = start(place, heldWords(place, { flags: [] }))
  await until(() => records(place)[0]?.state === "running")
  await killed(Number(first.pid))
  await first.ended
  hold(place, undefined)
  const [old] = records(place)
  expect(await banger(place, heldWords(place))).toMatchObject({
    stderr: expect.stringContaining("is not what is asked for: of its 1 postBoot hooks 0 are done"),
    exit: 1,
  })
  expect(records(place)).toMatchObject([{ id: old?.id, state: "running" }])
  expect(await banger(place, heldWords(place, { flags: ["--replace", "--detach"] }))).toMatchObject({ exit: 0 })
  expect(records(place)).toMatchObject([{ state: "running" }, { id: old?.id, state: "stopped" }])
  expect(await banger(place, ["stop", "held"])).toMatchObject({ exit: 0 })
})

test("a service manager gets the VM that it wants, where the supervisor was ended in a postBoot hook", async () => {
  const service = { NOTIFY_SOCKET: "/none" }
  hold(place, "postBoot")
  const first = start(place, heldWords(place, { flags: [] }), service)
  await until(() => hooksOf(place).includes("postBoot"))
  await killed(Number(first.pid))
  await first.ended
  hold(place, undefined)
  const [old] = records(place)
  const other = start(place, heldWords(place, { flags: [], memory: "64M" }), service)
  expect(await other.ended).toMatchObject({
    stderr: expect.stringContaining("is not what is asked for: memory"),
    exit: 1,
  })
  expect(records(place)).toMatchObject([{ id: old?.id, state: "running" }])
  const second = start(place, heldWords(place, { flags: [] }), service)
  await second.shows("up")
  await until(() => hooksOf(place).filter((hook) => hook === "postBoot").length === 2)
  expect(records(place)).toMatchObject([{ state: "running" }, { id: old?.id, state: "stopped" }])
  expect(hooksOf(place)).toEqual(["preBoot", "postBoot", "preStop", "postStop", "preBoot", "postBoot"])
  second.signal("SIGTERM")
  await second.ended
})
