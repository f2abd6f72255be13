import { afterAll, expect, test } from "bun:test"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { sendDatagram } from "../../../src/base/linux/datagram.ts"
import { managerOf } from "../../../src/host/systemd/manager.ts"
import { startService } from "../../../src/host/systemd/service.ts"
import { receiver } from "./support/receiver.ts"

const dir = mkdtempSync(join(tmpdir(), "bsd-"))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test("what a manager says is for the process that it names", () => {
  const socket = "/run/systemd/notify"
  const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "3000000", WATCHDOG_PID: "12" }
  expect(managerOf(env, 12)).toEqual({ socket, watchdogUs: 3_000_000 })
  expect(managerOf(env, 13)).toEqual({ socket, watchdogUs: undefined })
  expect(managerOf({ BANGER_SERVICE: "12 3000000 @a b" }, 12)).toEqual({ socket: "@a b", watchdogUs: 3_000_000 })
  expect(managerOf({ BANGER_SERVICE: "12  /x" }, 12)).toEqual({ socket: "/x", watchdogUs: undefined })
  expect(managerOf({ BANGER_SERVICE: "12 3000000 /x" }, 13)).toBeUndefined()
  expect(managerOf({}, 12)).toBeUndefined()
  expect(managerOf({ NOTIFY_SOCKET: "" }, 12)).toBeUndefined()
  for (const bad of ["", "0", "-1", "1.5", "1e9", "x", "99999999999999999999"])
    expect(managerOf({ NOTIFY_SOCKET: "/x", WATCHDOG_USEC: bad }, 12)?.watchdogUs, bad).toBeUndefined()
})

test("messages go to a path and to an abstract name", () => {
  for (const socket of [join(dir, "notify"), `@${dir}/abstract`]) {
    using manager = receiver(socket)
    using service = startService({ socket, watchdogUs: undefined }, { pid: 12 })
    service.status("web: booting\nREADY=1\u0000")
    service.ready("web: running")
    expect(manager.read()).toEqual(["STATUS=web: booting READY=1 ", "READY=1\nMAINPID=12\nSTATUS=web: running"])
  }
})

test("whatever the address is, nothing is thrown and nobody is waited for long", () => {
  writeFileSync(join(dir, "file"), "")
  using _deaf = receiver(join(dir, "deaf"))
  const none = ["/none", "@none", `/${"x".repeat(200)}`, `@${"x".repeat(200)}`, "@", "x", "/\0", join(dir, "file"), dir]
  for (const socket of [...none, "vsock:2:1", "/dev/null", join(dir, "deaf")]) {
    using service = startService({ socket, watchdogUs: 1 })
    const begun = performance.now()
    for (let count = 0; count < 600; count++) service.ready("x".repeat(10_000))
    service.stopping("over")
    expect(performance.now() - begun, socket).toBeLessThan(4000)
  }
  expect(() => sendDatagram("/none", new Uint8Array(1), 0)).toThrow("ENOENT")
})

test("a watchdog hears of this process while its thread goes on, and not when it does not", async () => {
  const said: string[] = []
  using _service = startService({ socket: "", watchdogUs: 200_000 }, { send: (lines) => said.push(...lines) })
  await Bun.sleep(450)
  const heard = said.length
  expect(heard).toBeGreaterThanOrEqual(3)
  Bun.sleepSync(400)
  expect(said.length).toBe(heard)
  expect(new Set(said)).toEqual(new Set(["WATCHDOG=1"]))
})

test("a thread that may be held is given that time, and what ends has time as long as it is well", async () => {
  const said: string[][] = []
  using service = startService({ socket: "", watchdogUs: 20_000_000 }, { send: (lines) => said.push([...lines]) })
  await service.allow(60_000, async () => {})
  expect(said.splice(0)).toEqual([
    ["WATCHDOG_USEC=75000000", "WATCHDOG=1"],
    ["WATCHDOG_USEC=20000000", "WATCHDOG=1"],
  ])
  service.stopping("web: stopping")
  service.stopping("again")
  expect(said.splice(0)).toEqual([["STOPPING=1", "STATUS=web: stopping", "EXTEND_TIMEOUT_USEC=30000000"]])
  await service.allow(60_000, async () => {})
  expect(said[0]).toEqual(["WATCHDOG_USEC=75000000", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=75000000"])
  expect(said[1]).toEqual(["WATCHDOG_USEC=20000000", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=30000000"])
})

test("without a watchdog nobody is told how long a hook may take", async () => {
  const said: unknown[] = []
  using service = startService({ socket: "", watchdogUs: undefined }, { send: (lines) => said.push(...lines) })
  await service.allow(60_000, async () => {})
  expect(said).toEqual([])
})
