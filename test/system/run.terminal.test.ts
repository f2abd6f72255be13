import { expect, test } from "bun:test"
import { closeSync, writeSync } from "node:fs"
import { banger, start, startGuest } from "./support/banger.ts"
import { eachInItsPlace, records } from "./support/place.ts"
import { openTerminal } from "./support/streams.ts"

const place = eachInItsPlace()

test("keys go to the guest, and Ctrl-C is an interrupt", async () => {
  const { master, slave } = openTerminal()
  const run = startGuest(place, "echo up; read line < /dev/console; echo got $line; sleep 600", {}, [], {
    stdin: slave,
  })
  await run.shows("up")
  writeSync(master, "hello\r")
  await run.shows("got hello")
  writeSync(master, "\x03")
  expect((await run.ended).exit).toBe(130)
})

test("a background job leaves its terminal to the others, and is not stopped for it", async () => {
  const { slave } = openTerminal()
  const through = ["setsid", "--ctty", "--wait", "bash", "-m", "-c", '"$@" & wait $!', "bash"]
  const { exit } = await startGuest(place, "true", {}, [], { stdin: slave, stderr: slave, through }).ended
  expect(exit).toBe(0)
})

test("a terminal that goes without a word does not fail the run", async () => {
  const { master, slave } = openTerminal()
  const run = startGuest(place, "echo up; sleep 2", {}, [], { stdin: slave })
  closeSync(slave)
  await run.shows("up")
  closeSync(master)
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("postStop: guest reset")
  expect(records(place)[0]?.state).toBe("stopped")
  expect(exit).toBe(0)
})

test("attached: keys go to the guest, Ctrl-C too, and the detach key leaves it running", async () => {
  const script = "echo up; while read line; do echo got $line; done < /dev/console"
  expect((await startGuest(place, script, {}, ["--detach"]).ended).exit).toBe(0)
  const { master, slave } = openTerminal()
  const attached = start(place, ["attach", "guest"], {}, { stdin: slave })
  await attached.shows("up")
  writeSync(master, "hello\r")
  await attached.shows("got hello")
  writeSync(master, "\x03more\r")
  await attached.shows("more")
  writeSync(master, "\x1d")
  const { stderr, exit } = await attached.ended
  expect(stderr).toContain("detached from guest")
  expect(exit).toBe(0)
  expect(JSON.parse((await banger(place, ["ps", "--json"])).stdout)).toMatchObject([
    { state: "running", liveness: "alive" },
  ])
  expect((await banger(place, ["kill", "guest"])).exit).toBe(0)
})
