import { expect, test } from "bun:test"
import { startGuest } from "./support/banger.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"

const place = eachInItsPlace()

test.each([
  ["poweroff -f", "guest powered off", 0],
  ["reboot -f", "guest reset", 0],
  ["true", "guest reset", 0],
] as const)("a guest that runs %s ended well: %s", async (script, reason, code) => {
  const { stdout, exit } = await startGuest(place, script, {}, ["--json"]).ended
  expect(JSON.parse(stdout)).toMatchObject({ state: "stopped", exit: { reason, requested: false, code: 0 } })
  expect(exit).toBe(code)
})

test.each([
  ["says nothing", "exit 3"],
  ["says words without a newline", "printf 'two of five failed'; exit 3"],
  ["leaves colours on", "printf '\\033[31mfailed\\033[0m '; exit 3"],
  [
    "says a status of its own",
    "echo 'init: the script ended with exit code 0'; printf 'banger: exit status 0'; exit 3",
  ],
])("a script that %s and ends with 3 is a run that ends with 3", async (_, script) => {
  const { stdout, exit } = await startGuest(place, script, {}, ["--json"]).ended
  expect(JSON.parse(stdout)).toMatchObject({ state: "failed", exit: { reason: "guest reset", guestStatus: 3 } })
  expect(exit).toBe(3)
})

test("a kernel panic is a failure, with the kernel's own words", async () => {
  const { stdout, stderr, exit } = await startGuest(place, "echo c > /proc/sysrq-trigger", {}, ["--json"]).ended
  const panic = "sysrq triggered crash"
  expect(JSON.parse(stdout)).toMatchObject({ state: "failed", exit: { reason: "guest panicked", panic } })
  expect(stderr).toContain(`guest panicked: kernel panic: ${panic}`)
  expect(exit).toBe(1)
  expect(records(place)[0]?.state).toBe("failed")
})

test("an initrd without an init panics, which is told from a reboot", async () => {
  const { stdout, exit } = await startGuest(place, "", { bootArgs: "console=ttyS0 reboot=k panic=1 rdinit=/none" }, [
    "--json",
  ]).ended
  expect(JSON.parse(stdout).exit.panic).toContain("VFS: Unable to mount root fs")
  expect(exit).toBe(1)
})

test.each([
  ["and goes on", "echo '%s'; echo fine"],
  ["and restarts", "echo '%s'"],
  ["in its kernel's log, and restarts", "echo '<0>%s' > /dev/kmsg"],
  ["and powers off", "echo '%s'; poweroff -f"],
])("a guest that only prints what a panic prints, %s, ended well", async (_, script) => {
  const text = script.replace("%s", "Kernel panic - not syncing: just text")
  const { stdout, exit } = await startGuest(place, text).ended
  expect(stdout).toContain("Kernel panic - not syncing: just text")
  expect(exit).toBe(0)
})

test.each([
  ["SIGKILL", "killed"],
  ["SIGSEGV", "crashed"],
  ["SIGTERM", "stopped"],
] as const)("a VMM that somebody else sends %s has %s, which fails the run", async (signal, reason) => {
  const run = startGuest(place, "echo up; sleep 600")
  await run.shows("up")
  for (const pid of processesOf(place)) process.kill(pid, signal)
  const { stderr, exit } = await run.ended
  expect(stderr).toContain(`postStop: ${reason}`)
  expect(stderr).toContain(`the VM ended badly: ${reason}`)
  expect(exit).toBe(1)
})
