import { expect, test } from "bun:test"
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { close } from "../../src/base/linux/files.ts"
import { checked, libc } from "../../src/base/linux/libc.ts"
import { packSockaddrUn } from "../../src/base/linux/structs.ts"
import { receiver } from "../host/systemd/support/receiver.ts"
import { banger, start, until } from "../system/support/banger.ts"
import { killed, listed, noted } from "../system/support/vms.ts"
import { eachOnDoubles } from "./support/place.ts"
import { bootWords, heldWords, hold } from "./support/vms.ts"

// A run that systemd has started: what it tells by NOTIFY_SOCKET.

const place = eachOnDoubles()
const foreground = () => bootWords(place, { flags: [] })
const lines = (messages: readonly string[]) => messages.flatMap((message) => message.split("\n"))

test("it is ready when the postBoot hooks are done, tells its state, and that it ends", async () => {
  const socket = join(place.dir, "notify")
  using manager = receiver(socket)
  hold(place, "postBoot")
  const run = start(place, heldWords(place, { flags: [] }), { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "400000" })
  await until(() => lines(manager.read()).some((line) => line.startsWith("STATUS=held: running")))
  await manager.until("WATCHDOG=1")
  await Bun.sleep(500)
  expect(lines(manager.read())).not.toContain("READY=1")
  hold(place, undefined)
  await manager.until("READY=1")
  const [vm] = await listed(place)
  // The process that systemd has started, which knows that.
  expect(lines(manager.read()).filter((line) => line.startsWith("MAINPID="))).toEqual([])
  expect(vm?.supervisor).toBe(run.pid)
  const told = lines(manager.read()).filter((line) => line.startsWith("STATUS="))
  const states = ["creating", "staging", "booting", "running", "running"]
  expect(told).toEqual(states.slice(1).map((state) => `STATUS=held: ${state} (${vm?.id})`))
  run.signal("SIGTERM")
  expect(await run.ended).toMatchObject({ exit: 143 })
  const last = lines(manager.read())
  expect(last).toContain("STOPPING=1")
  expect(last).toContain("EXTEND_TIMEOUT_USEC=30000000")
  expect(last.filter((line) => line === "READY=1")).toHaveLength(1)
})

test("it is ready too when it watches a VM that lived; one in the background tells nothing", async () => {
  const socket = `@${place.dir}/notify`
  using manager = receiver(socket)
  const detached = await banger(place, bootWords(place), { NOTIFY_SOCKET: socket })
  expect(detached).toMatchObject({ stdout: "double\n", exit: 0 })
  expect(manager.read()).toEqual([])
  const [vm] = await listed(place)
  await killed(vm?.supervisor ?? undefined)
  const run = start(place, foreground(), { NOTIFY_SOCKET: socket })
  await manager.until("READY=1")
  expect(lines(manager.read())).toContain(`STATUS=double: running (${vm?.id})`)
  run.signal("SIGKILL")
  await run.ended
  const isReady = () => lines(manager.read()).filter((line) => line === "READY=1").length
  expect(isReady()).toBe(1)
  const watch = start(place, ["supervise", String(vm?.id)], { NOTIFY_SOCKET: socket })
  await until(() => isReady() === 2)
  watch.signal("SIGTERM")
  await watch.ended
  expect(noted(place, "booted")).toEqual([String(vm?.id)])
})

/** The words that run a plugin whose postBoot hook notes in `seen` what environment its processes get. */
function tellingWords(): readonly string[] {
  const plugin = join(place.dir, "plugin.ts")
  const double = String(foreground().find((word) => word.endsWith("double.ts")))
  writeFileSync(
    plugin,
    `import plugin from "${double}"
import { execSync } from "node:child_process"
export default { ...plugin, async postBoot(ctx) {
  const own = (await Bun.file("/proc/self/environ").text()).replaceAll("\\0", "\\n")
  const seen = [Bun.spawnSync(["env"]).stdout.toString(), execSync("env").toString(), JSON.stringify(process.env), own]
  await Bun.write("${place.dir}/seen", seen.join("\\n"))
} }\n`,
  )
  return foreground().map((word) => (word === double ? plugin : word))
}

test("what a plugin starts cannot speak for it", async () => {
  const socket = join(place.dir, "notify")
  using manager = receiver(socket)
  const run = start(place, tellingWords(), { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "60000000", WATCHDOG_PID: "1" })
  await manager.until("READY=1")
  run.signal("SIGTERM")
  expect(await run.ended).toMatchObject({ exit: 143 })
  const seen = readFileSync(join(place.dir, "seen"), "utf8")
  expect(seen).toContain("BANGER_STATE_DIR=")
  expect(seen).not.toMatch(/NOTIFY_SOCKET|WATCHDOG_/)
})

test("a job of another service does not speak for that, nor does what a plugin starts there", async () => {
  mkdirSync(join(place.dir, "systemd"))
  const socket = join(place.dir, "systemd/notify")
  using manager = receiver(socket)
  const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "100000", SYSTEMD_EXEC_PID: String(process.pid) }
  const run = start(place, tellingWords(), env)
  await until(() => existsSync(join(place.dir, "seen")))
  // More than the watchdog's time.
  await Bun.sleep(300)
  run.signal("SIGTERM")
  expect(await run.ended).toMatchObject({ exit: 143 })
  expect(manager.read()).toEqual([])
  const seen = readFileSync(join(place.dir, "seen"), "utf8")
  expect(seen).toContain("BANGER_STATE_DIR=")
  expect(seen).not.toMatch(/NOTIFY_SOCKET|WATCHDOG_|BANGER_SERVICE/)
})

test("it speaks where a shell becomes it", async () => {
  mkdirSync(join(place.dir, "systemd"))
  const socket = join(place.dir, "systemd/notify")
  using manager = receiver(socket)
  const through = ["sh", "-c", 'SYSTEMD_EXEC_PID=$$ exec "$@"', "sh"]
  const run = start(place, foreground(), { NOTIFY_SOCKET: socket }, { through })
  await manager.until("READY=1")
  run.signal("SIGTERM")
  expect(await run.ended).toMatchObject({ exit: 143 })
  expect(lines(manager.read())).toContain("STOPPING=1")
})

/** Boots one as a service, which is killed: the VM lives on without a supervisor. */
async function left(): Promise<void> {
  const run = start(place, bootWords(place, { flags: [], restart: "always" }), { NOTIFY_SOCKET: "/none" })
  await run.shows("up")
  await until(() => noted(place, "booted").length > noted(place, "ended").length)
  run.signal("SIGKILL")
  await run.ended
}

/** Its states, and what of it lives. */
const living = async () => (await listed(place, "--all")).map(({ state }) => state)

/** As a loss of power does it. */
async function fall(): Promise<void> {
  const [vm] = await listed(place)
  if (vm?.supervisor !== undefined) await killed(vm.supervisor)
  await killed(vm?.pid)
}

const takeovers: [string, () => readonly string[]][] = [
  ["run --detach", () => bootWords(place, { restart: "always" })],
  ["supervise --detach", () => ["supervise", "--detach", "double"]],
]

test.each(takeovers)(
  "once a service, then taken over by %s: a boot starts it, a shutdown stops it",
  async (_, words) => {
    await left()
    expect((await banger(place, words())).exit).toBe(0)
    expect((await banger(place, ["system", "shutdown"])).exit).toBe(0)
    expect(await living()).toEqual(["stopped"])
    expect((await banger(place, ["system", "boot"])).exit).toBe(0)
    expect(await living()).toEqual(["running", "stopped"])
    await fall()
    expect((await banger(place, ["system", "boot"])).exit).toBe(0)
    expect((await living())[0]).toBe("running")
    await banger(place, ["stop", "--all"])
  },
)

test("once detached, then a service: systemd starts and stops it, no boot and no shutdown", async () => {
  expect((await banger(place, bootWords(place, { restart: "always" }))).exit).toBe(0)
  const [vm] = await listed(place)
  await killed(vm?.supervisor ?? undefined)
  const words = bootWords(place, { flags: [], restart: "always" })
  const run = start(place, words, { NOTIFY_SOCKET: "/none" })
  await run.shows("watched from now on")
  expect((await banger(place, ["system", "shutdown"])).exit).toBe(0)
  expect(await living()).toEqual(["running"])
  run.signal("SIGKILL")
  await run.ended
  await fall()
  expect((await banger(place, ["system", "boot"])).exit).toBe(0)
  expect(await living()).toEqual(["failed"])
})

test("nobody there, or no address: the VM runs as ever", async () => {
  for (const socket of ["/none", `@${"x".repeat(300)}`, "nothing", place.dir, "/dev/null"]) {
    const run = start(place, foreground(), { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "-1" })
    await run.shows("up")
    await until(() => noted(place, "booted").length > noted(place, "ended").length)
    run.signal("SIGTERM")
    expect(await run.ended, socket).toMatchObject({ exit: 143 })
  }
})

/** Takes what bangers print to a stream socket, as the journal does: one connection each. */
function collector(path: string) {
  const parts: string[] = []
  const server = Bun.listen<number>({
    unix: path,
    socket: {
      open(socket) {
        socket.data = parts.push("") - 1
      },
      data(socket, bytes) {
        parts[socket.data] += Buffer.from(bytes).toString()
      },
    },
  })
  const address = packSockaddrUn(path)
  return {
    text: () => parts.join(""),
    connect() {
      const fd = checked("socket", () => libc.socket(1, 1 | 0o2000000, 0))
      checked("connect", () => libc.connect(fd, address, address.length), path)
      return fd
    },
    [Symbol.dispose]: () => server.stop(true),
  }
}

test("each line of the console is shown once, however often its supervisor is killed; so is what was said meanwhile", async () => {
  using journal = collector(join(place.dir, "journal"))
  const begin = () => {
    const stdout = journal.connect()
    const run = start(place, foreground(), { NOTIFY_SOCKET: "/none" }, { stdout })
    close(stdout)
    return run
  }
  let run = begin()
  await until(() => journal.text().includes("up\n"))
  const [vm] = await listed(place)
  const log = join(place.state, "vms", String(vm?.id), "console.log")
  let said = 0
  const writing = setInterval(() => appendFileSync(log, `line ${said++}\nline ${said++}\nsome `), 1)
  for (let round = 0; round < 20; round++) {
    const next = said
    await until(() => journal.text().includes(`line ${next}\n`))
    await Bun.sleep(Math.random() * 30)
    run.signal("SIGKILL")
    await run.ended
    run = begin()
    await run.shows("watched from now on")
  }
  clearInterval(writing)
  await until(() => journal.text().includes(`line ${said - 1}\n`))
  expect((await listed(place))[0]).toMatchObject({ id: vm?.id, pid: vm?.pid })
  run.signal("SIGTERM")
  await run.ended
  const expected = Array.from(
    { length: said },
    (_, index) => `${index % 2 === 0 && index > 0 ? "some " : ""}line ${index}`,
  )
  const lines = journal.text().split("\n")
  expect(lines.slice(lines.findIndex((line) => line.startsWith("line 0"))).slice(0, said)).toEqual(expected)
  expect(noted(place, "booted")).toHaveLength(1)
}, 120_000)
