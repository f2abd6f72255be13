import { expect, test } from "bun:test"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { banger, fixture, killedAt, start, until } from "./support/banger.ts"
import { eachInItsPlace, expectNothingLeft, records } from "./support/place.ts"

const place = eachInItsPlace()
const RUN = ["run", fixture("guest"), "--", "true"]

// More of each call than a run makes; a run that is not killed ends the test.
const MANY = 80

test.each([
  ["writes a journal", "fsync,fdatasync"],
  ["makes a directory", "mkdir,mkdirat"],
  ["starts a process and has not written down which", "pidfd_open"],
])("a banger killed whenever it %s: rm -f takes all of it, and the name is free", async (_, calls) => {
  for (let count = 1; count < MANY; count++) {
    const { exit } = await killedAt(place, calls, count, RUN)
    if (exit === 0) return expect(count).toBeGreaterThan(3)
    expect({ count, exit }).toEqual({ count, exit: null })
    await removeAll(count)
  }
  throw new Error(`still killed at ${calls} number ${MANY}`)
})

test.each(["fsync,fdatasync", "unlink,unlinkat,rmdir", "renameat2"])(
  "an rm that is killed at %s: the next one takes the rest",
  async (calls) => {
    for (let count = 1; count < MANY; count++) {
      const running = start(place, RUN)
      // The VMM has been started and written down by then.
      await until(() => records(place)[0]?.state === "running")
      running.signal("SIGKILL")
      expect((await running.ended).exit).toBeNull()
      const { exit } = await killedAt(place, calls, count, ["rm", "-f", "guest"])
      if (exit === 0) return expect(count).toBeGreaterThan(1)
      await removeAll(count)
    }
    throw new Error(`still killed at ${calls} number ${MANY}`)
  },
)

/** Removes what the killed banger left on record, by its name, and looks for what is still there. */
async function removeAll(count: number): Promise<void> {
  const ids = records(place).map(({ id }) => id)
  if (ids.length > 0) {
    const { exit, stderr } = await banger(place, ["rm", "-f", "guest"])
    expect({ count, exit, stderr }).toMatchObject({ count, exit: 0 })
  }
  expect(records(place)).toEqual([])
  expectNothingLeft(place)
  expect(ids.filter((id) => existsSync(join(place.state, "vms", id)))).toEqual([])
  expect(ids.filter((id) => existsSync(join(cgroupMount() ?? "/nowhere", "banger", id)))).toEqual([])
}
