import { expect, test } from "bun:test"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { banger, bangerElsewhere, fixture, start, startGuest } from "./support/banger.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"

const place = eachInItsPlace()

test("a killed banger leaves its VM running; rm refuses it, and rm -f removes all of it", async () => {
  const run = startGuest(place, "echo up; sleep 600")
  await run.shows("up")
  run.signal("SIGKILL")
  await run.ended
  expect(processesOf(place)).toHaveLength(1)
  const refused = await banger(place, ["rm", "guest"])
  expect(refused.stderr).toContain("still runs as process")
  expect(refused.exit).toBe(1)
  expect(processesOf(place)).toHaveLength(1)
  const removed = await banger(place, ["rm", "-f", "guest"])
  expect(removed).toMatchObject({ exit: 0, stdout: "" })
  expect(records(place)).toEqual([])
})

test("from another PID namespace a VM that runs is left alone; by force it is ended through its cgroup", async () => {
  const run = startGuest(place, "echo up; sleep 600")
  await run.shows("up")
  run.signal("SIGKILL")
  await run.ended
  const refused = await bangerElsewhere(place, ["rm", "guest"])
  expect(refused.stderr).toMatch(/cannot tell whether guest.* runs: it was started in another PID namespace/)
  expect(refused.stderr).toContain("do this in the container that the VM was started in")
  expect(refused.exit).toBe(1)
  expect(processesOf(place)).toHaveLength(1)
  const forced = await bangerElsewhere(place, ["rm", "-f", "guest"])
  const known = cgroupMount() !== undefined
  expect({ known, ...forced }).toMatchObject({ known, exit: known ? 0 : 1 })
  expect(processesOf(place)).toHaveLength(known ? 0 : 1)
  if (!known) expect((await banger(place, ["rm", "-f", "guest"])).exit).toBe(0)
})

test("a failed start is kept for inspection when asked, with the command that removes it", async () => {
  const run = start(place, ["run", fixture("hooks"), "--keep-on-failure", "--", "sleep 600"], {
    BANGER_TEST_HOOK: "postBoot:throw",
  })
  const { stderr, exit } = await run.ended
  const [record] = records(place)
  expect(stderr).toContain(`to remove it: banger rm -f ${record?.id}`)
  expect(exit).toBe(1)
  expect(processesOf(place)).toHaveLength(1)
  expect(existsSync(join(place.state, "jail/qemu", record?.id ?? "", "root/job.sh"))).toBe(true)
  expect((await banger(place, ["rm", "-f", record?.id ?? ""])).exit).toBe(0)
})

test("a banger killed at any moment of a start leaves nothing that rm -f does not remove", async () => {
  for (let delay = 0; delay <= 120; delay += 8) {
    const run = startGuest(place, "sleep 600", { name: `guest-${delay}` })
    await Bun.sleep(delay)
    run.signal("SIGKILL")
    await run.ended
    for (const { id } of records(place)) {
      const { stderr, exit } = await banger(place, ["rm", "-f", id])
      expect({ stderr, exit }).toMatchObject({ exit: 0 })
    }
    expect(processesOf(place)).toEqual([])
  }
})
