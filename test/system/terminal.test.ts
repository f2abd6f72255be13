import { expect, test } from "bun:test"
import { closeSync, writeSync } from "node:fs"
import { startGuest } from "./banger.ts"
import { eachInItsPlace, records } from "./place.ts"
import { openTerminal } from "./streams.ts"

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
