import { expect, test } from "bun:test"
import { statSync } from "node:fs"
import { join } from "node:path"
import { banger, startGuest } from "./support/banger.ts"
import { eachInItsPlace, records } from "./support/place.ts"

const place = eachInItsPlace()

test("a guest that floods its console fills no disk, and every line of it is shown", async () => {
  const flood = "seq 1 120000"
  const { stdout, exit } = await startGuest(place, flood, { console: { limit: "128K" } }).ended
  expect(exit).toBe(0)
  const dir = join(place.state, "vms", records(place)[0]?.id ?? "")
  const { size, blocks } = statSync(join(dir, "console.log"))
  // A burst that comes within one look at the file is taken whole.
  expect(size).toBeLessThan(512 * 1024)
  expect(blocks * 512).toBeLessThan(512 * 1024)
  const lines = stdout.split(/\r?\n/).filter((line) => /^\d+$/.test(line))
  expect(lines).toEqual(Array.from({ length: 120_000 }, (_, index) => `${index + 1}`))
  const { stdout: logs } = await banger(place, ["logs", "guest"])
  expect(logs.length).toBe(size)
  expect(stdout.endsWith(logs)).toBe(true)
})

test("the logs of a flooding guest that still runs begin where its console is kept from", async () => {
  const run = startGuest(place, "seq 1 60000; echo done; sleep 600", { console: { limit: "64K" } })
  await run.shows("done")
  const { stdout } = await banger(place, ["logs", "guest"])
  expect(stdout.length).toBeLessThan(512 * 1024)
  expect(stdout).not.toContain("\0")
  expect(stdout).toContain("\n60000\r\ndone")
  run.signal("SIGINT")
  await run.ended
})

test("a reader that stops reading does not keep the run from ending", async () => {
  const script = `${join(import.meta.dir, "../../dist/banger")} run ${join(import.meta.dir, "../fixtures/plugins/guest.ts")} -- 'seq 1 20000' | head -n 1`
  const env = { ...process.env, BANGER_STATE_DIR: place.state, BANGER_RUNTIME_DIR: place.runtime }
  const { exitCode } = Bun.spawnSync(["sh", "-c", script], { env, stdin: "ignore", stderr: "pipe" })
  expect(exitCode).toBe(0)
  expect(records(place)[0]?.state).toBe("stopped")
})

test("the user network gives the guest an address", async () => {
  const spec = {
    network: "user",
    bootArgs: "console=ttyS0 reboot=k panic=1 loglevel=3 ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off",
  }
  const { stdout, exit } = await startGuest(place, "ip addr show eth0", spec).ended
  expect(stdout).toContain("inet 10.0.2.15/24")
  expect(exit).toBe(0)
})
