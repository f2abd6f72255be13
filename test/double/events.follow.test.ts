import { expect, test } from "bun:test"
import { readdirSync, readlinkSync } from "node:fs"
import { banger, start, until } from "../system/support/banger.ts"
import { eachOnDoubles } from "./support/place.ts"
import { bootUnsupervised } from "./support/vms.ts"

const place = eachOnDoubles()

test("`banger events -f | head` ends when nobody reads any more", async () => {
  const words = ["-c", `${place.program.join(" ")} events -f | head -n 1`]
  const head = start(place, words, {}, { through: ["sh"], self: false })
  const over = head.ended.then(() => true)
  for (let round = 0; !(await Promise.race([over, Bun.sleep(0)])); round++) {
    await bootUnsupervised(place, { name: `vm-${round}` })
    expect((await banger(place, ["kill", `vm-${round}`])).exit).toBe(0)
  }
  expect((await head.ended).stdout.split("\n")).toHaveLength(2)
})

test("events -f keeps nothing open of VMs that were removed", async () => {
  const events = start(place, ["events", "--follow"])
  const names = ["one", "two"]
  for (const name of names) {
    const { id } = await bootUnsupervised(place, { name })
    await events.shows(`${id}","atMs"`)
  }
  const opened = () =>
    readdirSync(`/proc/${events.pid}/fd`).filter((fd) =>
      linkOf(`/proc/${events.pid}/fd/${fd}`).includes("events.jsonl"),
    )
  expect(opened()).toHaveLength(2)
  expect((await banger(place, ["rm", "-f", ...names])).exit).toBe(0)
  await until(() => opened().length === 0)
  events.signal("SIGTERM")
  await events.ended
})

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    // It was closed meanwhile.
    return ""
  }
}
