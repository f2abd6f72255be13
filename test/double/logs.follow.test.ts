import { expect, test } from "bun:test"
import { banger, start, until } from "../system/support/banger.ts"
import { eachOnDoubles } from "./support/place.ts"
import { tell } from "./support/tell.ts"
import { boot } from "./support/vms.ts"

const place = eachOnDoubles()
const piped = (words: string) => start(place, ["-c", `${place.program.join(" ")} ${words} | head -n 1`], {}, SHELL)
const SHELL = { through: ["sh"], self: false } as const

test("logs -f goes on to the VM's end, events -f tells of VMs to come, ps --watch shows changes", async () => {
  const events = start(place, ["events", "--follow"])
  const watching = start(place, ["ps", "--watch"])
  await watching.shows("NAME")
  await boot(place)
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

test.each(["logs -f double", "ps --watch"])("`banger %s | head` ends when nobody reads any more", async (words) => {
  const { id } = await boot(place)
  const head = piped(words)
  await until(() => tell(place, id, "more\n") > 0)
  // Whatever comes next is what nobody reads.
  const timer = setInterval(() => {
    tell(place, id, "more\n")
  }, 50)
  expect((await head.ended).stdout.split("\n")).toHaveLength(2)
  clearInterval(timer)
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
})

test.each([
  "logs -f double",
  "logs -f --json double",
  "logs -f --vmm double",
  "logs -f --events double",
  "events -f",
  "ps --watch",
  "ps --watch --json",
  "wait double",
  "wait --json double",
  "attach double",
])("`banger %s | true` ends with 0, although nothing comes any more that it could fail to write", async (words) => {
  await boot(place)
  const program = place.program.join(" ")
  // Its status, which a shell's pipeline has of the last command only.
  const script = `{ ${program} ${words}; echo "status $?" >&2; } | true`
  expect((await start(place, ["-c", script], {}, SHELL).ended).stderr).toContain("status 0")
  expect((await banger(place, ["kill", "double"])).exit).toBe(0)
})
