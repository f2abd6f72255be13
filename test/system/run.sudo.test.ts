import { beforeAll, beforeEach, expect, test } from "bun:test"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs"
import { join } from "node:path"
import { close } from "../../src/base/linux/files.ts"
import { takeLock } from "../../src/store/files/lock.ts"
import { bzImageWith } from "../bzImage.ts"
import { tinyGuest } from "../tinyGuest.ts"
import { banger, fixture, type Running, start, until } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { startLoopback } from "./support/namespace.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { openTerminal } from "./support/streams.ts"
import { asUser, give, hostWithSudoers, type User, useRootsPlaces } from "./support/sudo.ts"
import { killed, rowsOf, sql } from "./support/vms.ts"

const host = hostWithSudoers()
const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()

beforeAll(() => mkdirSync("/etc/banger", { recursive: true }))
beforeEach(() => useRootsPlaces(place, host))

/** Starts a user's banger. */
function as(
  user: User,
  args: readonly string[],
  {
    env = {},
    root = "",
    ...manner
  }: { readonly env?: Readonly<Record<string, string>>; readonly root?: string; readonly stdin?: number } = {},
): Running {
  const { bin } = firecracker
  const config = `firecracker = "${bin}/firecracker"\njailer = "${bin}/jailer"\n${root}`
  writeFileSync("/etc/banger/config.toml", config, { mode: 0o644 })
  // Where there is a terminal, it is theirs.
  const session = manner.stdin === undefined ? [] : ["setsid", "--ctty", "--wait"]
  return start(place, args, {}, { ...manner, through: [...session, ...asUser(user, env)] })
}

/** A plugin of a user's, whose hooks note what they see in `notes` of the user's home. */
function pluginOf(user: User, name: string, { script = "", fields = "", packed = false } = {}): string {
  const dir = join(user.home, name)
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(dir)
  give(user, dir, "700")
  const kernel = tinyGuest(script)
  writeFileSync(join(dir, "vmlinux"), packed ? bzImageWith(Bun.gzipSync(new Uint8Array(kernel))) : kernel)
  give(user, join(dir, "vmlinux"), "600")
  writeFileSync(join(dir, "notes"), "")
  give(user, join(dir, "notes"), "600")
  const plugin = join(dir, `${name}.ts`)
  writeFileSync(
    plugin,
    `import { appendFileSync } from "node:fs"
import { definePlugin } from "banger"
const note = (what: string, ctx: object) =>
  appendFileSync(${JSON.stringify(join(dir, "notes"))}, JSON.stringify({ what, uid: process.getuid?.(), ...ctx }) + "\\n")
export default definePlugin({
  name: ${JSON.stringify(name)},
  kernel: "./vmlinux",
  vmm: "firecracker",
  async preBoot(ctx) {
    const path = await ctx.stage.write("words", "hello")
    ctx.drives.add({ path, id: "words", readonly: true })
    note("preBoot", { path, dir: ctx.dir, args: ctx.args })
  },
  postBoot: (ctx) => note("postBoot", { pid: ctx.vm.pid, id: ctx.vm.id }),
  preStop: (ctx) => note("preStop", {}),
  postStop: (ctx) => note("postStop", { reason: ctx.exit.reason, again: ctx.again }),
  ${fields}
})
`,
  )
  return give(user, plugin, "600")
}

function writeDisk(path: string): string {
  writeFileSync(path, new Uint8Array(1024 * 1024))
  return path
}

function notesOf(user: User, name: string): Record<string, unknown>[] {
  const text = readFileSync(join(user.home, name, "notes"), "utf8")
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line))
}

function statusOf(pid: number): { readonly uid: string; readonly root: string } {
  const [, uid = ""] = /^Uid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? []
  return { uid, root: statSync(`/proc/${pid}/root/.`).ino.toString() }
}

test("what a user's postStop makes of the run is its exit status, and the reason that is told", async () => {
  const { ann } = host
  const script = "PRINT[up] RESET"
  const decides = (name: string, postStop: string) => pluginOf(ann, name, { script, fields: `postStop${postStop},` })
  const failed = await as(ann, ["run", decides("fails", "(ctx) { ctx.fail('tests failed') }")]).ended
  expect(failed).toMatchObject({ exit: 1, stderr: expect.stringContaining("tests failed") })
  const status = await as(ann, ["run", decides("seven", "(ctx) { ctx.exitCode = 7 }")]).ended
  expect(status).toMatchObject({ exit: 7 })
  const process = await as(ann, ["run", decides("nine", "() { process.exitCode = 9 }")]).ended
  expect(process).toMatchObject({ exit: 9 })
  const odd = await as(ann, ["run", decides("odd", "(ctx) { ctx.exitCode = 256 }")]).ended
  expect(odd).toMatchObject({ exit: 1, stderr: expect.stringContaining("no whole number from 0 to 255") })
})

onBoth("a user who may sudo has a jailed VM by banger run, with the hooks in the user's own process", async () => {
  const plugin = pluginOf(host.ann, "jailed", { script: "PRINT[up]" })
  const run = as(host.ann, ["run", plugin, "--", "one", "two"])
  await run.shows("up")
  const [record] = records(place)
  const [pid = 0] = processesOf(place)
  expect(Number(statusOf(pid).uid)).toBeGreaterThanOrEqual(1_900_000_000)
  expect(statusOf(pid).root).not.toBe(statSync("/").ino.toString())
  run.signal("SIGINT")
  expect(await run.ended).toMatchObject({ exit: 130 })
  const { ann } = host
  expect(notesOf(ann, "jailed")).toEqual([
    {
      what: "preBoot",
      uid: ann.uid,
      path: expect.stringMatching(/\/words$/),
      dir: expect.any(String),
      args: ["one", "two"],
    },
    { what: "postBoot", uid: ann.uid, pid, id: record?.id },
    { what: "preStop", uid: ann.uid },
    { what: "postStop", uid: ann.uid, reason: "guest reset", again: false },
  ])
  expect(records(place)).toMatchObject([{ id: record?.id, state: "stopped" }])
})

onBoth("a detached VM of a user's is seen, read, waited for and ended by its user, and by no other", async () => {
  const { ann, bob } = host
  const plugin = pluginOf(ann, "apart", { script: "PRINT[up]" })
  const json = async (user: User, ...args: string[]) => JSON.parse((await as(user, args).ended).stdout)
  const began = await json(ann, "run", "--detach", "--json", plugin)
  const { id, name } = began
  expect({ name, id }).toEqual({ name: "apart", id: expect.stringMatching(/^apart-/) })
  expect(await json(ann, "ps", "--json")).toMatchObject([{ id, name: "apart", state: "running", liveness: "alive" }])
  expect(await json(ann, "inspect", "apart")).toMatchObject({ id })
  expect((await as(ann, ["logs", "apart"]).ended).stdout).toContain("up")
  expect((await as(ann, ["events", "apart"]).ended).stdout).toContain(`"running"`)
  // One who has a VM, so that sudo is asked.
  const other = pluginOf(bob, "bobs", { script: "PRINT[up]" })
  expect(await as(bob, ["run", "--detach", other]).ended).toMatchObject({ exit: 0 })
  expect(await json(bob, "ps", "--all", "--json")).toMatchObject([{ name: "bobs" }])
  for (const verb of ["inspect", "logs", "events", "stop", "kill", "wait", "rm"])
    for (const word of ["apart", id]) {
      const { exit, stderr } = await as(bob, [verb, word]).ended
      expect({ verb, exit, stderr }).toMatchObject({ exit: 1, stderr: expect.stringContaining("no VM") })
    }
  const { exit: taken, stderr } = await as(bob, ["run", "--replace", "--name", "apart", other]).ended
  expect({ taken, stderr }).toMatchObject({ taken: 1, stderr: expect.stringContaining("taken by another user") })
  expect(await as(bob, ["stop", "--all"]).ended).toMatchObject({ exit: 0 })
  expect(await json(ann, "ps", "--json")).toMatchObject([{ id, state: "running" }])
  const waited = as(ann, ["wait", "apart"])
  expect(await as(ann, ["stop", "apart"]).ended).toMatchObject({
    exit: 0,
    stderr: expect.stringContaining("has ended"),
  })
  expect(await waited.ended).toMatchObject({ exit: 0, stdout: expect.stringContaining("guest reset") })
  expect(notesOf(ann, "apart").map(({ what }) => what)).toEqual(["preBoot", "postBoot", "preStop", "postStop"])
  expect(await json(ann, "ps", "--json")).toEqual([])
  await until(() => readdirSync(join(ann.home, ".local/state/banger/vms")).length === 0)
  expect(await as(ann, ["rm", "apart"]).ended).toMatchObject({ exit: 0 })
  expect((await json(ann, "ps", "--all", "--json")).filter((vm: { id: string }) => vm.id === id)).toEqual([])
})

test("QEMU, which reads kernels as root, is not had by sudo, whoever chooses it, until root allows it", async () => {
  const { ann } = host
  const words = ["--", "echo no jail", "{}"]
  const bare = await as(ann, ["run", fixture("guest"), ...words]).ended
  expect(bare).toMatchObject({ exit: 0, stdout: expect.stringContaining("no jail") })
  const [told = "", ...more] = bare.stderr.split("\n").filter((line) => line.includes("has no jail"))
  expect({ told, more }).toEqual({ told: expect.stringContaining("by sudo there is no QEMU"), more: [] })
  const detached = await as(ann, ["run", "--detach", fixture("guest"), "--", "echo up; sleep 60", "{}"]).ended
  expect(detached).toMatchObject({ exit: 0 })
  expect(await as(ann, ["stop", "--all"]).ended).toMatchObject({ exit: 0 })
  for (const [spec, root] of [
    [{ network: true }, ""],
    [{ network: true, vmm: "auto", accel: "tcg" }, ""],
    [{ network: true }, "sudoQemu = false\n"],
  ] as const) {
    const { exit, stderr } = await as(ann, ["run", fixture("guest"), "--", "true", JSON.stringify(spec)], { root })
      .ended
    expect({ exit, stderr }).toEqual({ exit: 2, stderr: expect.stringContaining("by sudo there is no QEMU") })
    expect(stderr).toContain("sudoQemu = true in /etc/banger/config.toml")
  }
  // Nothing was begun for it as root.
  expect(existsSync(join(place.state, "jail"))).toBe(false)
  expect(records(place)).toEqual([])
})

test("a real guest boots on QEMU where root allows it, with its kernel, initrd and a drive that preBoot has written", async () => {
  const { ann } = host
  const image = give(ann, writeDisk(join(ann.home, "disk.img")), "600")
  const spec = JSON.stringify({ drives: [{ path: image }] })
  const script = "echo written > /dev/vda; head -c 7 /dev/vda; echo; echo done"
  const run = as(ann, ["run", fixture("guest"), "--", script, spec], { root: "sudoQemu = true\n" })
  await run.shows("written")
  expect(await run.ended).toMatchObject({ exit: 0, stderr: expect.stringContaining("postStop: guest reset") })
  // The guest had a copy.
  expect(readFileSync(image).every((byte) => byte === 0)).toBe(true)
})

onBoth("a packed kernel is unpacked as the user, in the user's own state", async () => {
  const { ann } = host
  const plugin = pluginOf(ann, "packed", { script: "PRINT[up]RESET", packed: true })
  expect(await as(ann, ["run", plugin]).ended).toMatchObject({ exit: 0, stdout: expect.stringContaining("up") })
  const [unpacked = ""] = readdirSync(join(ann.home, ".local/state/banger/kernels"))
  expect(statSync(join(ann.home, ".local/state/banger/kernels", unpacked)).uid).toBe(ann.uid)
  expect(existsSync(join(place.state, "kernels"))).toBe(false)
})

onBoth("a user's VM has a tap with an address and a port of the host, and both are gone with it", async () => {
  startLoopback()
  const { ann } = host
  const plugin = pluginOf(ann, "netted", {
    script: "PRINT[up]",
    fields: `network: { ports: ["127.0.0.1:8123:80"] },`,
  })
  const run = as(ann, ["run", plugin])
  await run.shows("up")
  await until(() => notesOf(ann, "netted").length === 2)
  expect(rowsOf(place, "select * from leases")).toHaveLength(1)
  expect(Bun.spawnSync(["ip", "-br", "link"]).stdout.toString()).toContain("bgr0")
  run.signal("SIGTERM")
  expect((await run.ended).exit).toBe(143)
})

onBoth(
  "keys of the user's terminal go to the guest; Ctrl-C stops it gracefully, by the key and by the kernel's signal",
  async () => {
    const { ann } = host
    const plugin = pluginOf(ann, "typed")
    const { master, slave } = openTerminal()
    const run = as(ann, ["run", plugin], { stdin: slave })
    await run.shows("BANGER-GUEST-UP")
    writeSync(master, "hello")
    await run.shows("hello")
    writeSync(master, "\x03")
    expect((await run.ended).exit).toBe(130)
    // Not raw now: sudo and the helper get the signal as well.
    const other = openTerminal()
    const quiet = as(ann, ["run", "--json", plugin], { stdin: other.slave })
    await until(() => notesOf(ann, "typed").filter(({ what }) => what === "postBoot").length === 2)
    writeSync(other.master, "\x03")
    expect((await quiet.ended).exit).toBe(130)
    const hooks = ["preBoot", "postBoot", "preStop", "postStop"]
    expect(notesOf(ann, "typed").map(({ what }) => what)).toEqual([...hooks, ...hooks])
    expect(records(place).map(({ state }) => state)).toEqual(["stopped", "stopped"])
  },
)

onBoth("when the user's process is killed, the VM is stopped as by a hangup, and released", async () => {
  const plugin = pluginOf(host.ann, "left", { script: "PRINT[up]" })
  const run = as(host.ann, ["run", plugin])
  await run.shows("up")
  run.signal("SIGKILL")
  await run.ended
  await until(() => records(place)[0]?.state === "failed" || records(place)[0]?.state === "stopped")
  expect(notesOf(host.ann, "left").map(({ what }) => what)).toEqual(["preBoot", "postBoot"])
  await until(() => processesOf(place).length === 0)
})

onBoth(
  "a helper that is killed leaves the VM running; its user stops it, and root runs none of its hooks",
  async () => {
    const { ann } = host
    const plugin = pluginOf(ann, "orphan", { script: "PRINT[up]" })
    const run = as(ann, ["run", plugin])
    await run.shows("up")
    const [{ supervisor, id }] = JSON.parse((await as(ann, ["ps", "--json"]).ended).stdout)
    process.kill(supervisor, "SIGKILL")
    expect(await run.ended).toMatchObject({ exit: 1, stderr: expect.stringContaining("helper") })
    expect(processesOf(place)).toHaveLength(1)
    const ended = await as(ann, ["stop", id]).ended
    expect(ended).toMatchObject({ exit: 0, stderr: expect.stringContaining("run in that user's own process only") })
    expect(notesOf(ann, "orphan").map(({ what }) => what)).toEqual(["preBoot", "postBoot"])
  },
)

test("who may not sudo has it as ever, and is told in one line what that gives up", async () => {
  const plugin = pluginOf(host.eve, "without", { script: "PRINT[up]RESET", fields: "timeouts: { run: '1m' }," })
  // The double's directory is root's alone.
  Bun.spawnSync(["chmod", "755", join(firecracker.bin, "..")])
  const { stderr } = await as(host.eve, ["run", "--json", plugin], {
    env: { PATH: `${firecracker.bin}:/run/bin:/usr/bin:/bin` },
  }).ended
  expect(stderr.split("\n").filter((line) => line.includes("has no jail"))).toHaveLength(1)
  expect(records(place).filter(({ name }) => name === "without")).toEqual([])
  expect(notesOf(host.eve, "without").map(({ what }) => what)).toContain("postStop")
})

test("sudo is not asked where the user's configuration says so, nor for a VM that needs nothing of root's", async () => {
  const { ann } = host
  Bun.spawnSync(["chmod", "755", join(firecracker.bin, "..")])
  const env = { PATH: `${firecracker.bin}:/run/bin:/usr/bin:/bin` }
  const config = join(ann.home, "config.toml")
  writeFileSync(config, "sudo = false\n")
  give(ann, config)
  const plugin = pluginOf(ann, "unasked", { script: "PRINT[up]RESET" })
  const { stderr } = await as(ann, ["run", plugin], { env: { ...env, BANGER_CONFIG: config } }).ended
  expect(stderr).toContain("config.toml says not to ask sudo")
  const bare = pluginOf(ann, "bare", { script: "PRINT[up]RESET", fields: "jail: false," })
  expect((await as(ann, ["run", bare], { env }).ended).stderr).not.toContain("has no jail")
  expect(existsSync(join(place.state, "state.db"))).toBe(false)
  expect([...notesOf(ann, "unasked"), ...notesOf(ann, "bare")].filter(({ what }) => what === "postStop")).toHaveLength(
    2,
  )
})

onBoth("a user's VM is booted again as its restart policy says, and replaced by its user's next run", async () => {
  const { ann } = host
  const restart = `restart: { policy: "always", delay: "50ms", limit: 100 },`
  const plugin = pluginOf(ann, "again", { script: "PRINT[up]", fields: restart })
  const run = as(ann, ["run", plugin])
  const count = (hook: string) => notesOf(ann, "again").filter(({ what }) => what === hook).length
  for (let boots = 1; boots <= 3; boots++) {
    await until(() => count("postBoot") === boots)
    // Not before the helper has heard of it: a first boot that fails is not tried again.
    const events = join(place.state, "vms", records(place)[0]?.id ?? "", "events.jsonl")
    await until(() => readFileSync(events, "utf8").includes(`"postBoot"`))
    await killed(processesOf(place)[0])
    await until(() => count("postStop") === boots)
  }
  run.signal("SIGTERM")
  expect((await run.ended).exit).toBe(143)
  const steady = pluginOf(ann, "steady", { script: "PRINT[up]" })
  const first = as(ann, ["run", steady])
  await first.shows("up")
  expect(await as(ann, ["run", steady]).ended).toMatchObject({
    exit: 1,
    stderr: expect.stringContaining("is taken by VM"),
  })
  const second = as(ann, ["run", "--replace", steady])
  await first.ended
  await second.shows("up")
  second.signal("SIGTERM")
  expect((await second.ended).exit).toBe(143)
  expect(
    records(place)
      .filter(({ name }) => name === "steady")
      .map(({ state }) => state),
  ).toEqual(["stopped", "stopped"])
})

test("a user has no more VMs at a time than root allows, nor helpers; by a name of root's there is none, also after its end", async () => {
  const { ann, bob } = host
  const [first, second] = [pluginOf(ann, "first"), pluginOf(ann, "second")]
  const run = (user: User, plugin: string, root: string) => as(user, ["run", "--detach", plugin], { root }).ended
  expect((await run(ann, first, "sudoVms = 1\n")).exit).toBe(0)
  const over = await run(ann, second, "sudoVms = 1\n")
  expect(over.exit).toBe(75)
  expect(over.stderr).toContain("uid 4242 has 1 VMs by sudo, and may have 1 at a time")
  expect(over.stderr).toContain("sudoVms in /etc/banger/config.toml")
  // Another user's count for nothing, nor do those that have ended.
  expect((await run(bob, pluginOf(bob, "bobs"), "sudoVms = 1\n")).exit).toBe(0)
  expect((await as(ann, ["stop", "first"], { root: "sudoVms = 1\n" }).ended).exit).toBe(0)
  expect((await run(ann, second, "sudoVms = 1\n")).exit).toBe(0)
  for (const user of [ann, bob]) expect((await as(user, ["stop", "--all"]).ended).exit).toBe(0)
  const helpers = join(place.runtime, ".helpers")
  const held = Array.from({ length: 32 }, (_, slot) => takeLock(join(helpers, `${ann.uid}.${slot}`)))
  const refused = await as(ann, ["stop", "second"], { root: "sudoVms = 0\n" }).ended
  for (const fd of held) if (fd !== undefined) close(fd)
  expect(refused.stderr).toContain("uid 4242 has 32 helpers running, and may have no more")
  // Root's own, which has ended, and no restart policy boots again.
  const { name, id, ...row } = rowsOf(place, "select * from vms where name = 'second'")[0] as {
    name: string
    id: string
  }
  const columns = { ...row, id: "roots-aaaaaaaa", name: "roots", request: "{}" }
  const values = Object.values(columns).map((value) =>
    value === null ? "null" : typeof value === "number" ? value : `'${value}'`,
  )
  sql(place, `insert into vms (${Object.keys(columns).join()}) values (${values.join()})`)
  const taken = await run(ann, pluginOf(ann, "roots"), "")
  expect({ exit: taken.exit, stderr: taken.stderr }).toEqual({
    exit: 1,
    stderr: expect.stringContaining("taken by another"),
  })
  expect((await banger(place, ["rm", "roots-aaaaaaaa"])).exit).toBe(0)
  expect((await run(ann, pluginOf(ann, "roots"), "")).exit).toBe(0)
  expect((await as(ann, ["stop", "roots"]).ended).exit).toBe(0)
})
