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

const process = (pid: number, byManager = false) => ({ pid, byManager: () => byManager })

test("what a manager says is for the process that it names", () => {
  const socket = "/run/notify"
  const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "3000000", WATCHDOG_PID: "12" }
  expect(managerOf(env, process(12))).toEqual({ socket, watchdogUs: 3_000_000 })
  expect(managerOf(env, process(13))).toEqual({ socket, watchdogUs: undefined })
  const hidden = (text: string, pid = 12) => managerOf({ BANGER_SERVICE: text }, process(pid))
  expect(hidden("12 3000000 @a b")).toEqual({ socket: "@a b", watchdogUs: 3_000_000 })
  expect(hidden("12  /x")).toEqual({ socket: "/x", watchdogUs: undefined })
  expect(hidden("12  /run/systemd/notify")).toEqual({ socket: "/run/systemd/notify", watchdogUs: undefined })
  expect(hidden("12 3000000 /x", 13)).toBeUndefined()
  expect(managerOf({}, process(12))).toBeUndefined()
  expect(managerOf({ NOTIFY_SOCKET: "" }, process(12))).toBeUndefined()
  for (const bad of ["", "0", "-1", "1.5", "1e9", "x", "99999999999999999999"])
    expect(managerOf({ NOTIFY_SOCKET: "/x", WATCHDOG_USEC: bad }, process(12))?.watchdogUs, bad).toBeUndefined()
})

test.each<[string, Record<string, string>, boolean, boolean]>([
  ["systemd started it", { SYSTEMD_EXEC_PID: "12" }, false, true],
  ["systemd started another, which it is a job of", { SYSTEMD_EXEC_PID: "11" }, false, false],
  ["a job whose parent has ended", { SYSTEMD_EXEC_PID: "11" }, true, false],
  ["a control process: another is the main one", { SYSTEMD_EXEC_PID: "12", MAINPID: "11" }, true, false],
  ["it is the main process, told so", { SYSTEMD_EXEC_PID: "12", MAINPID: "12" }, true, true],
  ["no number", { SYSTEMD_EXEC_PID: "" }, true, false],
  ["an older systemd's child", {}, true, true],
  ["an older systemd's service has started it", {}, false, false],
  ["another's socket", { NOTIFY_SOCKET: "/run/notify/notify.sock" }, false, true],
  ["another's socket, in a service", { NOTIFY_SOCKET: "@proxy", SYSTEMD_EXEC_PID: "11", MAINPID: "11" }, false, true],
])("whether it is a service's main process: %s", (_, told, byManager, is) => {
  for (const socket of ["/run/systemd/notify", "/run/user/1000/systemd/notify"]) {
    const env = { NOTIFY_SOCKET: socket, ...told }
    const manager = { socket: env.NOTIFY_SOCKET, watchdogUs: undefined }
    expect(managerOf(env, process(12, byManager))).toEqual(is ? manager : undefined)
  }
})

test("messages go to a path and to an abstract name", () => {
  for (const socket of [join(dir, "notify"), `@${dir}/abstract`]) {
    using manager = receiver(socket)
    using service = startService({ socket, watchdogUs: undefined })
    service.status("web: booting\nREADY=1\u0000")
    service.ready("web: running")
    expect(manager.read()).toEqual(["STATUS=web: booting READY=1 ", "READY=1\nSTATUS=web: running"])
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
