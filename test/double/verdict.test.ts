import { expect, test } from "bun:test"
import { join } from "node:path"
import { banger, fixture, start, until } from "../system/support/banger.ts"
import { kernelOf } from "../system/support/doubles.ts"
import { records } from "../system/support/place.ts"
import { eachOnDoubles } from "./support/place.ts"

const place = eachOnDoubles()

function words(script: string, what: readonly string[], fields: object = {}, flags: readonly string[] = []) {
  const kernel = kernelOf(place.dir, script, `vmlinux-${Bun.hash(script).toString(16)}`)
  const spec = JSON.stringify({ ...place.spec, ...fields })
  return ["run", ...flags, fixture("verdict"), "--", kernel, spec, ...what]
}

test.each<[string, readonly string[], number, string]>([
  ["throws", ["throw"], 1, "postStop threw: the artifacts are missing"],
  ["says that the run failed", ["fail"], 1, "two tests failed"],
  ["names an exit status", ["code", "42"], 42, "exit status 42"],
  ["names it as programs do", ["process", "7"], 7, "exit status 7"],
  ["names a status that is none", ["code", "300"], 1, "300 is no whole number from 0 to 255"],
  ["does not end", ["slow"], 124, "postStop did not finish in 200ms"],
])("a postStop hook that %s makes the run fail, told once, with all cleaned up", async (_, what, status, message) => {
  const ran = await banger(place, words("RESET PRINT[up]", what, { timeouts: { postStop: "200ms" } }))
  expect(ran).toMatchObject({ exit: status })
  expect(ran.stderr.split(message)).toHaveLength(2)
  expect(records(place)).toMatchObject([{ state: "failed", handles: "[]" }])
  const waited = await banger(place, ["wait", "--json", "verdict"])
  expect(JSON.parse(waited.stdout)).toMatchObject({ state: "failed", exit: { reason: "guest reset" } })
  expect(waited.exit).toBe(status < 100 ? status : 1)
})

test("what a plugin said of one boot is not said of the next one, which a restart policy boots", async () => {
  const run = start(place, words("PRINT[up]", ["first", "7"], { restart: { policy: "on-failure", delay: "10ms" } }))
  for (const count of [1, 2]) {
    await until(() => records(place).length === count && records(place).some(({ state }) => state === "running"))
    const { id = "" } = records(place).find(({ state }) => state === "running") ?? {}
    // As a guest does that its own user restarts: it ends well.
    const request = { unix: join(place.runtime, id, "api.sock"), method: "PUT" }
    await fetch("http://localhost/actions", { ...request, body: JSON.stringify({ action_type: "SendCtrlAltDel" }) })
  }
  const { stderr, exit } = await run.ended
  expect({ stderr, exit }).toMatchObject({
    exit: 0,
    stderr: expect.stringContaining("exit status 7; booting it again"),
  })
  const states = records(place).map(({ state }) => state)
  expect(states.sort()).toEqual(["failed", "stopped"])
})

test("a preStop hook that throws makes a stop's run fail; the VM is stopped all the same", async () => {
  const run = start(place, words("PRINT[up]", ["preStop"]))
  await run.shows("up")
  run.signal("SIGTERM")
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("preStop threw: preStop went wrong")
  expect(exit).toBe(143)
  expect(records(place)).toMatchObject([{ state: "failed", handles: "[]" }])
})

test.each([
  ["init: the script ended with exit code 3", 3],
  ["banger: exit status 255", 255],
  ["banger: exit status 0", 0],
  // No status, or none of a process: the guest's own words.
  ["banger: exit status 256", 0],
  ["echo banger: exit status 3", 0],
])("a guest that says %p: that is the run's exit status", async (line, status) => {
  const { stdout, stderr, exit } = await banger(place, words(`RESET PRINT[${line}]`, [], {}, ["--json"]))
  expect({ exit, stderr }).toMatchObject({ exit: status })
  const document = JSON.parse(stdout)
  expect(document.exit.guestStatus).toBe(/^(?:banger|init).*(?:[^6]|25[^6])$/.test(line) ? status : undefined)
  if (status !== 0) expect(document.error).toMatchObject({ code: "VM_FAILED", exit: status })
  const waited = await banger(place, ["wait", "verdict"])
  expect(waited.exit).toBe(status)
})

test("a hook may take a guest's status back, and a stop that was asked for has none", async () => {
  expect(await banger(place, words("RESET PRINT[banger: exit status 3]", ["code", "0"]))).toMatchObject({ exit: 0 })
  const run = start(place, words("PRINT[banger: exit status 143]", []))
  await run.shows("status 143")
  expect((await banger(place, ["stop", "verdict"])).exit).toBe(0)
  await run.ended
  expect(records(place)[0]).toMatchObject({ state: "stopped" })
})

test.each<[string, string, object, number, string]>([
  ["resets without a word", "RESET PRINT[]", {}, 1, "before it said a word"],
  ["may be silent", "RESET PRINT[]", { ends: "reset" }, 0, "guest reset"],
  ["is told to be quiet", "RESET PRINT[]", { bootArgs: "console=ttyS0 quiet" }, 0, "guest reset"],
  ["has no console to speak on", "RESET PRINT[]", { bootArgs: "reboot=k" }, 0, "guest reset"],
  ["powers off where it should reset", "HALT PRINT[up]", { ends: "reset" }, 1, 'not as ends: "reset" has it'],
  ["resets where it should power off", "RESET PRINT[up]", { ends: "poweroff" }, 1, 'not as ends: "poweroff" has it'],
  ["powers off as it should", "HALT PRINT[up]", { ends: "poweroff" }, 0, "guest powered off"],
  ["panics", "RESET PRINT[Kernel panic - not syncing: no init]", {}, 1, "guest panicked: kernel panic: no init"],
])("a guest that %s", async (_, script, fields, status, message) => {
  const { stderr, exit } = await banger(place, words(script, [], fields))
  expect({ exit, stderr }).toMatchObject({ exit: status, stderr: expect.stringContaining(message) })
})
