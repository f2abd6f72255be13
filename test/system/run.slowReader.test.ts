import { expect, test } from "bun:test"
import { openSync, statSync, writeSync } from "node:fs"
import { join } from "node:path"
import { errorCode } from "../../src/base/linux/errors.ts"
import { fixture, start, startGuest, until } from "./support/banger.ts"
import { eachInItsPlace, records } from "./support/place.ts"
import { openTerminal, stalledPipe } from "./support/streams.ts"

const place = eachInItsPlace()

const stateIs = (state: string) => until(() => records(place)[0]?.state === state)

test("a full disk under standard output is told of once, and the run goes on", async () => {
  const streams = { stdout: openSync("/dev/full", "w") }
  const { stderr, exit } = await startGuest(place, "seq 1 2000", {}, [], streams).ended
  expect(stderr.match(/it is no longer shown: standard output cannot be written: write: ENOSPC/g)).toHaveLength(1)
  expect(stderr).toContain("postStop: guest reset")
  expect(records(place)[0]?.state).toBe("stopped")
  expect(exit).toBe(0)
})

test("full standard output and error do not fail a run either", async () => {
  const full = openSync("/dev/full", "w")
  const { exit } = await startGuest(place, "seq 1 2000", {}, [], { stdout: full, stderr: full }).ended
  expect(records(place)[0]?.state).toBe("stopped")
  expect(exit).toBe(0)
})

test.each([
  ["pipe", () => stalledPipe(place)],
  ["terminal", () => openTerminal().slave],
] as const)("a %s that is not read holds up nothing but its own end, which a signal is", async (_, stalled) => {
  const run = startGuest(place, "seq 1 20000", { timeouts: { stop: "10m" } }, [], { stdout: stalled() })
  await stateIs("stopped")
  run.signal("SIGINT")
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("postStop: guest reset")
  expect(stderr).toContain("the console was not shown to its end; banger logs guest-")
  expect(stderr).not.toContain("did not stop")
  expect(exit).toBe(130)
})

test("the limit of the run also ends the wait for a reader", async () => {
  const streams = { stdout: stalledPipe(place) }
  const { stderr, exit } = await startGuest(place, "seq 1 20000", { timeouts: { run: "25s" } }, [], streams).ended
  expect(stderr).toContain("the console was not shown to its end")
  expect(stderr).not.toContain("still ran")
  expect(records(place)[0]?.state).toBe("stopped")
  expect(exit).toBe(0)
})

test.each([
  ["pipe", () => stalledPipe(place)],
  ["terminal", () => openTerminal().slave],
] as const)("a guest is stopped while its console floods a %s that is not read", async (_, stalled) => {
  const run = startGuest(place, "while :; do echo flood; done", {}, [], { stdout: stalled() })
  await stateIs("running")
  const log = join(place.state, "vms", records(place)[0]?.id ?? "", "console.log")
  await until(() => statSync(log).size > 256 * 1024)
  run.signal("SIGTERM")
  const { stderr, exit } = await run.ended
  expect(stderr).toContain("guest reset, as asked")
  expect(exit).toBe(143)
})

test.each([
  ["the run's limit", { timeouts: { run: "4s" } }, undefined, 124],
  ["a signal", {}, "SIGTERM", 143],
] as const)("a plugin that talks to a reader who does not read is ended by %s", async (_, spec, signal, code) => {
  const stalled = stalledPipe(place)
  const streams = { stdout: stalled, stderr: stalled }
  const run = start(place, ["run", fixture("talker"), "--", JSON.stringify(spec)], {}, streams)
  await stateIs("running")
  if (signal !== undefined) run.signal(signal)
  expect((await run.ended).exit).toBe(code)
})

test("a plugin that holds the thread is ended also when nobody hears of it", async () => {
  for (const stderr of [stalledPipe(place), openSync("/dev/full", "w")]) {
    const env = { BANGER_TEST_HOOK: "postBoot:block", BANGER_TEST_LIMIT: "1s" }
    const { exit } = await start(place, ["run", fixture("hooks"), "--", "sleep 600"], env, { stderr }).ended
    expect(exit).toBe(124)
    expect(records(place)[0]?.state).toBe("failed")
  }
})

test("a result that nobody reads waits, and a signal ends that", async () => {
  const stdout = stalledPipe(place)
  for (const size of [4096, 1]) writeUntilFull(stdout, size)
  const run = startGuest(place, "true", {}, ["--json"], { stdout })
  await stateIs("stopped")
  // The first may still find the run, which is over, and then the result is what is left.
  const again = setInterval(() => run.signal("SIGINT"), 100)
  const { stderr } = await run.ended.finally(() => clearInterval(again))
  expect(stderr).toContain("postStop: guest reset")
})

function writeUntilFull(fd: number, size: number): void {
  try {
    for (;;) writeSync(fd, new Uint8Array(size))
  } catch (error) {
    expect(errorCode(error)).toBe("EAGAIN")
  }
}
