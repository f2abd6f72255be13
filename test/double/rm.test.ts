import { expect, test } from "bun:test"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { banger, start } from "../system/support/banger.ts"
import { processesOf, records } from "../system/support/place.ts"
import { killed, noted } from "../system/support/vms.ts"
import { eachOnDoubles } from "./support/place.ts"
import { boot, bootUnsupervised, bootWords } from "./support/vms.ts"

const place = eachOnDoubles()

test("rm takes a VM that has ended, with its logs; a second one finds none", async () => {
  const { id } = await boot(place)
  expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  expect(existsSync(join(place.state, "vms", id))).toBe(true)
  expect(await banger(place, ["rm", "double"])).toMatchObject({ stdout: "", exit: 0 })
  expect(existsSync(join(place.state, "vms", id))).toBe(false)
  expect(records(place)).toEqual([])
  expect((await banger(place, ["rm", "double"])).exit).toBe(1)
  for (const words of [["double"], ["double", "other-1"]]) {
    const { stdout, stderr, exit } = await banger(place, ["rm", "-f", ...words])
    expect({ stdout, exit }).toEqual({ stdout: "", exit: 0 })
    for (const word of words) expect(stderr).toContain(`no VM "${word}"`)
  }
})

test("a name is one thing: rm takes all its boots, and logs has each; an id takes one", async () => {
  const ids: string[] = []
  for (const word of ["one", "two", "three"]) {
    ids.push((await boot(place, { script: `PRINT[boot ${word}]` })).id)
    expect((await banger(place, ["stop", "double"])).exit).toBe(0)
  }
  const other = await boot(place, { name: "other" })
  const said = async (...words: string[]) => (await banger(place, ["logs", "double", ...words])).stdout
  expect(await said()).toContain("boot three")
  expect(await said("--boot", "0")).toContain("boot three")
  expect(await said("--boot", "-1")).toContain("boot two")
  expect(await said("--boot=-2")).toContain("boot one")
  const none = await banger(place, ["logs", "double", "--boot", "-3"])
  expect(none).toMatchObject({ stderr: expect.stringContaining("double has no boot -3"), exit: 1 })
  expect((await banger(place, ["logs", "double", "--boot", "1"])).exit).toBe(2)
  expect((await banger(place, ["rm", ids[1] ?? ""])).exit).toBe(0)
  expect(await said("--boot", "-1")).toContain("boot one")
  expect((await banger(place, ["rm", "double"])).exit).toBe(0)
  expect(records(place).map(({ id }) => id)).toEqual([other.id])
  expect((await banger(place, ["rm", "-f", "other"])).exit).toBe(0)
})

test("after a restart, too, one rm is enough; while a boot of the name runs, none is removed", async () => {
  await boot(place)
  expect((await banger(place, ["restart", "double"])).exit).toBe(0)
  expect(records(place)).toHaveLength(2)
  expect((await banger(place, ["rm", "double"])).exit).toBe(1)
  expect(records(place)).toHaveLength(2)
  expect((await banger(place, ["rm", "-f", "double"])).exit).toBe(0)
  expect(records(place)).toEqual([])
})

test("by force one that is not there hides no other", async () => {
  const { id } = await boot(place)
  expect(await banger(place, ["rm", "-f", "none", "double"])).toMatchObject({ exit: 0 })
  expect(records(place).map((vm) => vm.id)).not.toContain(id)
})

test("a VM that another banger watches is not removed; by force that banger ends it first", async () => {
  const run = start(place, bootWords(place, { flags: [] }))
  await run.shows("up")
  const refused = await banger(place, ["rm", "double"])
  expect(refused.stderr).toContain("has not ended: it is running")
  expect(refused.exit).toBe(1)
  expect(await banger(place, ["rm", "-f", "double"])).toMatchObject({ stdout: "", exit: 0 })
  expect((await run.ended).exit).toBe(143)
  expect(records(place)).toEqual([])
  expect(noted(place, "ended")).toHaveLength(1)
})

test("a VM whose banger was killed is refused while it runs, and by force all of it goes", async () => {
  const { pid, supervisor } = await boot(place)
  await killed(supervisor)
  const refused = await banger(place, ["rm", "double"])
  expect(refused.stderr).toContain(`still runs as process ${pid}`)
  expect(refused.exit).toBe(1)
  expect(processesOf(place)).toEqual([pid])
  expect((await banger(place, ["rm", "-f", "double"])).exit).toBe(0)
  expect(records(place)).toEqual([])
})

test("a banger killed at any moment of a start leaves nothing that rm -f does not remove", async () => {
  for (const delay of [40, 80, 110, 140, 180]) {
    const run = start(place, bootWords(place, { flags: [], name: `vm-${delay}` }))
    await Bun.sleep(delay)
    run.signal("SIGKILL")
    await run.ended
    for (const { id } of records(place)) {
      const { stderr, exit } = await banger(place, ["rm", "-f", id])
      expect({ delay, stderr, exit }).toMatchObject({ exit: 0 })
    }
    expect(processesOf(place)).toEqual([])
  }
})

test("two that remove one VM both find it gone", async () => {
  const { id } = await bootUnsupervised(place)
  const both = await Promise.all([banger(place, ["rm", "-f", id]), banger(place, ["rm", "-f", id])])
  for (const { stderr, exit } of both) expect({ stderr, exit }).toMatchObject({ exit: 0 })
  expect(records(place)).toEqual([])
})
