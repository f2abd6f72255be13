import { beforeAll, beforeEach, expect, test } from "bun:test"
import {
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { O } from "../../src/base/linux/constants.ts"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { bzImageWith } from "../bzImage.ts"
import { tinyGuest } from "../tinyGuest.ts"
import { banger, start, until } from "./support/banger.ts"
import { onEachFirecracker } from "./support/firecrackers.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"
import { asUser, give, hostWithSudoers, type User, useRootsPlaces } from "./support/sudo.ts"
import { doubleWords } from "./support/vms.ts"

// Every verb of root's helper, as a user who speaks to it by themself.

const host = hostWithSudoers()
const { firecracker, onBoth } = onEachFirecracker()
const place = eachInItsPlace()
let hello = ""

beforeAll(() => {
  mkdirSync("/etc/banger", { recursive: true })
  hello = Bun.spawnSync([host.program, "version"]).stdout.toString().trim()
})
beforeEach(() => useRootsPlaces(place, host))

type Said = Readonly<Record<string, unknown>> & { readonly error?: { readonly code: string; readonly message: string } }

/** A user's talk with the helper. */
interface Talk {
  say(message: object): void
  raw(bytes: string | Uint8Array): void
  /** The first thing that it says, of those not heard yet, for which this holds; rejects when it has ended. */
  hears(what: (said: Said) => boolean): Promise<Said>
  /** Ends what is said; resolves to all that was heard, and the exit status. */
  end(): Promise<{ readonly all: readonly Said[]; readonly exit: number; readonly stderr: string }>
  /** Resolves when the helper has ended by itself. */
  readonly ended: Promise<{ readonly all: readonly Said[]; readonly exit: number; readonly stderr: string }>
}

function talk(
  user: User,
  {
    greets = true,
    words = ["__helper"],
    first = [],
  }: { greets?: boolean; words?: readonly string[]; first?: readonly string[] } = {},
): Talk {
  const config = `firecracker = "${firecracker.bin}/firecracker"\njailer = "${firecracker.bin}/jailer"\n`
  writeFileSync("/etc/banger/config.toml", config, { mode: 0o644 })
  const child = Bun.spawn([...first, ...asUser(user), "sudo", "-n", "--", host.program, ...words], {
    stdio: ["pipe", "pipe", "pipe"],
    cwd: user.home,
  })
  const all: Said[] = []
  let heard = 0
  let wake = Promise.withResolvers<void>()
  let over = false
  const read = async () => {
    let text = ""
    const decoder = new TextDecoder()
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk, { stream: true })
      const lines = text.split("\n")
      text = lines.pop() ?? ""
      all.push(...lines.map((line) => JSON.parse(line)))
      wake.resolve()
    }
  }
  const ended = Promise.all([read(), new Response(child.stderr).text(), child.exited]).then(([, stderr, exit]) => {
    over = true
    wake.resolve()
    return { all, exit, stderr }
  })
  const raw = (bytes: string | Uint8Array) => {
    try {
      child.stdin.write(bytes)
      child.stdin.flush()
    } catch {
      // It has ended: how, is what is asked.
    }
  }
  if (greets) raw(`${JSON.stringify({ banger: hello })}\n`)
  return {
    raw,
    say: (message) => raw(`${JSON.stringify(message)}\n`),
    ended,
    async end() {
      await child.stdin.end()
      return await ended
    },
    async hears(what) {
      for (;;) {
        while (heard < all.length) {
          const said = all[heard++]
          if (said !== undefined && what(said)) return said
        }
        if (over) throw new Error(`it has ended: ${JSON.stringify(all)}`)
        wake = Promise.withResolvers<void>()
        await wake.promise
      }
    },
  }
}

/** A directory of a user's own with a kernel. */
function workOf(user: User, script = "PRINT[up]"): { readonly dir: string; readonly kernel: string } {
  const dir = join(user.home, "work")
  mkdirSync(dir)
  give(user, dir, "700")
  const kernel = join(dir, "vmlinux")
  writeFileSync(kernel, tinyGuest(script))
  return { dir, kernel: give(user, kernel, "600") }
}

/** What asks for a VM. */
function running(kernel: string, spec: object = {}, more: object = {}): object {
  return {
    ...{ id: 1, verb: "run", plugin: "/home/plugin.ts", sha256: "0".repeat(64), args: [], hooks: [] },
    spec: { name: "hostile", kernel, vmm: "firecracker", ...spec },
    ...more,
  }
}

/** The processes of root's that are helpers. */
function helpers(): readonly number[] {
  const { stdout } = Bun.spawnSync(["pgrep", "--uid", "0", "--full", `^${host.program} __helper$`])
  return stdout.toString().trim().split("\n").map(Number)
}

const failed = (said: Said) => said.is === "failed"

test("a user cannot stop, freeze or starve the helper, which may hold a lock that root's VMs wait for", async () => {
  const cgroup = `${cgroupMount()}/theirs-${process.pid}`
  mkdirSync(cgroup)
  try {
    const into = `echo 0 > ${cgroup}/cgroup.procs && exec chrt --idle 0 nice -n 19 taskset -c 0 "$@"`
    const one = talk(host.ann, { first: ["sh", "-c", into, "sh"] })
    await one.hears(({ is }) => is === "hello")
    const [pid = 0, ...more] = helpers()
    expect(more).toEqual([])
    expect(readFileSync(`/proc/${pid}/cgroup`, "utf8")).not.toContain("theirs")
    writeFileSync(`${cgroup}/cgroup.freeze`, "1")
    // As Ctrl-Z does, and what writes to a terminal in the background.
    for (const signal of ["SIGTSTP", "SIGTTIN", "SIGTTOU"] as const) process.kill(pid, signal)
    const [, policy, nice] =
      /^(\S+) +(\S+)$/m.exec(
        Bun.spawnSync(["ps", "--no-headers", "-o", "policy,nice", "-p", `${pid}`])
          .stdout.toString()
          .trim(),
      ) ?? []
    expect({ policy, nice }).toEqual({ policy: "TS", nice: "0" })
    expect(readFileSync(`/proc/${pid}/status`, "utf8")).toMatch(
      new RegExp(`^Cpus_allowed_list:\\s+${readFileSync("/sys/devices/system/cpu/online", "utf8").trim()}$`, "m"),
    )
    writeFileSync(`${cgroup}/cgroup.freeze`, "0")
    one.say({ id: 1, verb: "list" })
    expect(await one.hears(({ is }) => is === "done")).toMatchObject({ value: [] })
    expect((await one.end()).exit).toBe(0)
  } finally {
    await until(() => readFileSync(`${cgroup}/cgroup.procs`, "utf8") === "")
    rmdirSync(cgroup)
  }
})

test("a line that is no message ends the talk with one error, and nothing else happens", async () => {
  const nested = `${'{"a":'.repeat(17)}1${"}".repeat(17)}`
  const lines: (string | Uint8Array)[] = [
    ...[
      "",
      "x",
      "[]",
      "1",
      "null",
      '"x"',
      "{",
      '{"id":1}}',
      "{'id':1}",
      '{"id":1,}',
      '{"id":01}',
      '{"id":1e999}',
      "{} {}",
    ],
    ...['{"id":1,"id":2,"verb":"list"}', '{"__proto__":1}', '{"a":{"constructor":1}}', '{"\\u005f_proto__":1}'],
    ...[nested, `{"a":[${"1,".repeat(1100)}1]}`, `{"a":"${"x".repeat(70_000)}"}`, '{"a":"\\ud800"}', '{"a":"\u0000"}'],
    ...['{"a":"\u0001"}', "\ufeff{}", new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
  ]
  for (const line of lines) {
    const one = talk(host.ann)
    one.raw(typeof line === "string" ? Buffer.from(`${line}\n`) : Buffer.concat([line, Buffer.from("\n")]))
    const { all, exit } = await one.ended
    expect(all.slice(1), String(line).slice(0, 80)).toMatchObject([{ is: "failed", error: { code: "BAD_FILE" } }])
    expect(exit).toBe(2)
  }
  // Without an end, and without a line at all.
  for (const [text, code] of [
    [`{"id":1,"verb":"li`, 2],
    [`{"a":"${"x".repeat(60_000)}`, 2],
    ["", 0],
  ] as const) {
    const one = talk(host.ann)
    one.raw(text)
    expect((await one.end()).exit).toBe(code)
  }
  expect(records(place)).toEqual([])
}, 60_000)

test("who does not greet, or is of another build, is served nothing", async () => {
  for (const first of [
    { id: 1, verb: "list" },
    { banger: "banger 0.0.1 (x)" },
    { banger: hello, more: 1 },
    { banger: 1 },
  ]) {
    const one = talk(host.ann, { greets: false })
    one.say(first)
    one.say({ id: 2, verb: "list" })
    const { all, exit } = await one.ended
    expect({ all, exit }).toMatchObject({ all: [{ is: "failed" }], exit: 2 })
  }
})

test("what is no request is refused by itself, three in a row end the talk; a number counts once", async () => {
  const one = talk(host.ann)
  one.say({ id: 5, verb: "list" })
  one.say({ id: 5, verb: "list" })
  one.say({ id: 4, verb: "list" })
  one.say({ id: 6, verb: "list" })
  for (const bad of [
    { id: 7, verb: "list", path: "/etc" },
    { id: 8, verb: "chmod" },
    { id: -1, verb: "list" },
  ])
    one.say(bad)
  one.say({ id: 9, verb: "list" })
  const { all, exit } = await one.ended
  const short = all.map(({ is, id, error }) => [is, id ?? error?.code])
  expect(short).toEqual([
    ["hello", undefined],
    ["done", 5],
    ...Array(2).fill(["failed", "USAGE"]),
    ["done", 6],
    ...Array(3).fill(["failed", "USAGE"]),
  ])
  expect(exit).toBe(0)
})

test("no verb takes a word that is no VM's, an option, a path, or a part that is not its own", async () => {
  const words = [
    "../x",
    "/etc/passwd",
    "-rf",
    "--all",
    "a b",
    "",
    "a\nb",
    "\u001b[31m",
    "A",
    "a".repeat(64),
    1,
    null,
    ["a"],
    {},
  ]
  const verbs = ["inspect", "logs", "events", "stop", "kill", "wait", "rm"]
  const bad = [
    ...verbs.flatMap((verb) => words.map((vm) => ({ verb, vm, ...(verb === "logs" && { which: "console" }) }))),
    { verb: "logs", vm: "a", which: "../../state.db" },
    { verb: "logs", vm: "a", which: "__proto__" },
    { verb: "stop", vm: "a", timeoutMs: -1 },
    { verb: "stop", vm: "a", timeoutMs: "1; id" },
    { verb: "rm", vm: "a", force: "yes" },
    { verb: "toString", vm: "a" },
    { verb: "hasOwnProperty" },
    { verb: ["list"] },
  ]
  let id = 0
  for (let at = 0; at < bad.length; at += 2) {
    // Two at a time: three end it.
    const one = talk(host.ann)
    for (const message of bad.slice(at, at + 2)) one.say({ id: ++id, ...message })
    const { all } = await one.end()
    expect(all.slice(1).map(({ is, error }) => [is, error?.code])).toEqual(
      bad.slice(at, at + 2).map(() => ["failed", "USAGE"]),
    )
  }
  expect(records(place)).toEqual([])
}, 120_000)

onBoth(
  "another user's VM, and root's, are as if they were not there, whatever the verb and however they are named",
  async () => {
    const { ann, bob } = host
    const mine = workOf(ann)
    const owner = talk(ann)
    owner.say(running(mine.kernel, { name: "hers" }))
    const { vm } = (await owner.hears(({ is }) => is === "booted")) as unknown as { vm: { id: string } }
    const roots = start(
      place,
      ["run", join(import.meta.dir, "../fixtures/plugins/double.ts"), "--", place.dir, mine.kernel],
      firecracker.env,
    )
    await until(() => records(place).some(({ name, state }) => name === "double" && state === "running"))
    const theirs = records(place).find(({ name }) => name === "double")
    const before = records(place)
    const other = talk(bob)
    let id = 0
    const prefix = vm.id.slice(0, -1)
    for (const verb of ["inspect", "logs", "events", "stop", "kill", "wait", "rm"])
      for (const word of ["hers", vm.id, prefix, "double", theirs?.id ?? ""]) {
        other.say({
          id: ++id,
          verb,
          vm: word,
          ...(verb === "logs" && { which: "console" }),
          ...(verb === "rm" && { force: true }),
        })
        const { error } = await other.hears(failed)
        expect(error, `${verb} ${word}`).toMatchObject({ code: "NO_SUCH_VM", message: `no VM ${JSON.stringify(word)}` })
      }
    other.say({ id: ++id, verb: "list", all: true })
    expect(await other.hears(({ is }) => is === "done")).toMatchObject({ value: [] })
    await other.end()
    // A VM of bob's that is called as ann's is numbered is bob's, and ann's is ann's.
    const his = workOf(bob)
    for (const name of ["hers", "double"])
      for (const replace of [true, false]) {
        const taking = talk(bob)
        taking.say(running(his.kernel, { name }, { replace }))
        const { error } = await taking.hears(failed)
        expect(error).toMatchObject({ code: "IN_USE" })
        expect(error?.message).toContain("taken by another user's VM")
        await taking.end()
      }
    const called = talk(bob)
    called.say(running(his.kernel, { name: vm.id }))
    await called.hears(({ is }) => is === "booted")
    const stopping = talk(bob)
    stopping.say({ id: 1, verb: "kill", vm: vm.id })
    await stopping.hears(({ is }) => is === "done")
    await stopping.end()
    await called.ended
    expect(
      records(place)
        .filter(({ state }) => state === "running")
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(["double", "hers"])
    expect(records(place).length).toBe(before.length + 1)
    await owner.end()
    roots.signal("SIGTERM")
    await roots.ended
  },
)

onBoth(
  "the name of a VM of root's that is booted again stays root's, also between two boots, until it is removed",
  async () => {
    const { kernel } = workOf(host.bob)
    const fields = { restart: { policy: "always", delay: "1h" } }
    const roots = start(place, doubleWords(place, [], "PRINT[up] RESET", fields), firecracker.env)
    await until(() => records(place).some(({ state }) => state === "stopped" || state === "failed"))
    const taken = async () => {
      const one = talk(host.bob)
      one.say(running(kernel, { name: "double" }))
      const { is, error } = await one.hears(({ is }) => is === "failed" || is === "booted")
      await one.end()
      return is === "booted" ? is : error?.code
    }
    expect(await taken()).toBe("IN_USE")
    roots.signal("SIGTERM")
    await roots.ended
    expect(await taken()).toBe("IN_USE")
    expect((await banger(place, ["rm", "double"])).exit).toBe(0)
    expect(await taken()).toBe("booted")
  },
)

onBoth("who says more than is heard, and goes, leaves no process of root's", async () => {
  const { kernel } = workOf(host.ann)
  const owner = talk(host.ann)
  owner.say(running(kernel))
  await owner.hears(({ is }) => is === "booted")
  const before = helpers()
  const one = talk(host.ann)
  await one.hears(({ is }) => is === "hello")
  for (let id = 1; id <= 200; id++) one.say({ id, verb: "wait", vm: "hostile" })
  await one.end()
  await until(() => helpers().length === before.length)
  expect(records(place).map(({ state }) => state)).toEqual(["running"])
  await owner.end()
})

test("what root alone could read, or nobody should, gets into no jail by any field", async () => {
  const { ann } = host
  const { dir, kernel } = workOf(ann)
  const secret = "/run/secret"
  writeFileSync(secret, "SECRET", { mode: 0o600 })
  symlinkSync(secret, join(dir, "link"))
  Bun.spawnSync(["mkfifo", "-m", "666", join(dir, "fifo")])
  const bobs = workOf(host.bob)
  const bad = [
    ...[
      secret,
      join(dir, "link"),
      join(dir, "fifo"),
      bobs.kernel,
      "/etc/shadow",
      "/dev/zero",
      "/proc/self/root/run/secret",
    ],
    ...["/proc/self/fd/0", "/proc/self/environ", "/proc/1/environ", "/var/lib/banger/state.db", dir, join(dir, "none")],
  ]
  const fields: ((path: string) => object)[] = [
    (path) => ({ kernel: path }),
    (path) => ({ initrd: path }),
    (path) => ({ drives: [{ path, readonly: true }] }),
    (path) => ({ drives: [{ path: kernel }, { path }] }),
    (path) => ({ firecracker: { pmem: [{ id: "p", path }] } }),
  ]
  for (const path of bad)
    for (const field of fields) {
      const one = talk(ann)
      one.say(running(kernel, field(path)))
      const { error } = await one.hears(failed)
      expect(error, `${path} ${JSON.stringify(field("x"))}`).toMatchObject({ code: "BAD_FILE" })
      expect(error?.message).toContain(path)
      await one.ended
    }
  // Nor is anything unpacked by root.
  const packed = join(dir, "packed")
  writeFileSync(packed, bzImageWith(Bun.gzipSync(new Uint8Array(tinyGuest()))))
  for (const vmm of ["auto", "firecracker"]) {
    const one = talk(ann)
    one.say(running(give(ann, packed), { vmm }))
    expect((await one.hears(failed)).error).toMatchObject({ code: "BAD_FILE", subject: "kernel" })
    await one.ended
  }
  expect(records(place)).toEqual([])
  rmSync(secret)
}, 120_000)

test("no setting gives a user what is root's", async () => {
  const { ann } = host
  const { kernel, dir } = workOf(ann)
  const socket = join(dir, "s")
  const settings: [string, object][] = [
    ["jail", { jail: { uid: 4243 } }],
    ["jail", { jail: { gid: 1 } }],
    ["jail", { jail: false }],
    ["drives[0].persist", { drives: [{ persist: "disk", size: "10M" }] }],
    ["drives[0].persist", { drives: [{ persist: "disk", path: "/etc/shadow" }] }],
    ["drives[0].stage", { drives: [{ path: kernel, stage: "link" }] }],
    ["drives[0].stage", { drives: [{ path: kernel, stage: "bind" }] }],
    ["limits.io", { limits: { io: [{ device: "/dev/vda", readOps: 5 }] } }],
    ["console.limit", { console: { limit: "1G" } }],
    ["firecracker.vhost_user", { firecracker: { vhost_user: [{ id: "v", socket }] } }],
    ["firecracker.uffd", { firecracker: { uffd: socket } }],
    ["firecracker.resource_limit", { firecracker: { resource_limit: { "no-file": 100_000 } } }],
    ["firecracker.machine.huge_pages", { firecracker: { machine: { huge_pages: "2M" } } }],
    ["network.bridge", { network: { bridge: "br0" } }],
    ["network.bridge", { network: { bridge: "bgr1" } }],
    ["network.subnet", { network: { subnet: "10.0.0.0/24" } }],
    ["network.ports", { network: { ports: ["80:80"] } }],
    ["network.mac", { network: { mac: "02:00:5e:10:00:01" } }],
    ["network.isolate", { network: { isolate: false } }],
    ["network.nat", { network: { nat: false } }],
    ["network.forward", { network: { forward: true } }],
  ]
  for (const [setting, spec] of settings) {
    const one = talk(ann)
    one.say(running(kernel, spec))
    const { error } = await one.hears(failed)
    expect(error).toMatchObject({ code: "NEEDS_ROOT", subject: setting })
    await one.ended
  }
  // What no plugin may say, none may say here.
  for (const spec of [
    { name: "../x" },
    { name: "" },
    { vcpus: 1e9 },
    { argv: ["sh"] },
    { kernel: "relative" },
    { vmm: "/bin/sh" },
  ]) {
    const one = talk(ann)
    one.say(running(kernel, spec))
    expect((await one.hears(failed)).error?.code).toMatch(/^BAD_(?:PLUGIN|FILE)$/)
    await one.ended
  }
  for (const more of [
    { plugin: "x" },
    { plugin: "/a\u001b[2J" },
    { sha256: "x" },
    { hooks: [["main"]] },
    { args: ["a".repeat(5000)] },
    { uid: 0 },
    { state: "/etc" },
  ]) {
    const one = talk(ann)
    one.say(running(kernel, {}, more))
    expect((await one.hears(failed)).error).toMatchObject({ code: "USAGE" })
    await one.end()
  }
  expect(records(place)).toEqual([])
}, 120_000)

onBoth("hooks ask for no more than the caller may have, one thing at a time, and only while they run", async () => {
  const { ann } = host
  const { kernel, dir } = workOf(ann)
  const secret = "/run/secret"
  writeFileSync(secret, "SECRET", { mode: 0o600 })
  symlinkSync(secret, join(dir, "link"))
  const one = talk(ann)
  one.say(running(kernel, {}, { hooks: [["preBoot", "postBoot", "postStop"]] }))
  const { ask } = await one.hears(({ is }) => is === "hook")
  let id = 1
  const call = async (what: object) => {
    one.say({ id: ++id, verb: "call", ask, ...what })
    return await one.hears(({ is, call }) => (is === "answered" || is === "refused") && call === id)
  }
  const part = Buffer.from("hello").toString("base64")
  for (const name of ["../x", "/etc/x", "a/../../x", "", ".", "a//b", "x".repeat(300)])
    expect(await call({ call: "stage.write", name, part, last: true }), name).toMatchObject({ is: "refused" })
  for (const path of [secret, join(dir, "link"), "/etc/shadow", "/proc/self/fd/0", "/proc/self/environ", "/dev/zero"]) {
    expect(await call({ call: "stage.copy", name: "copy", path }), path).toMatchObject({
      is: "refused",
      error: { code: "BAD_FILE" },
    })
    expect(await call({ call: "drives.add", path, with: {} }), path).toMatchObject({
      is: "refused",
      error: { code: "BAD_FILE" },
    })
  }
  for (const more of [{ stage: "link" }, { persist: "x" }, { size: "1G" }, { unknown: 1 }, { id: "../x" }])
    expect(await call({ call: "drives.add", path: kernel, with: more })).toMatchObject({ is: "refused" })
  // Of parts without end, each of next to nothing, not one is held for long.
  for (let count = 0; count <= 1024; count++)
    expect(await call({ call: "stage.write", name: "x", part: "" })).toMatchObject({
      is: count < 1024 ? "answered" : "refused",
    })
  // Not of this hook, nor of one that runs.
  expect(await call({ call: "pause" })).toMatchObject({ is: "refused" })
  expect(await call({ call: "drives.replace", name: "disk0", path: kernel })).toMatchObject({ is: "refused" })
  one.say({ id: ++id, verb: "call", ask: 99, call: "stage.copy", name: "x", path: kernel })
  expect(await one.hears(({ is }) => is === "refused")).toMatchObject({
    error: { message: expect.stringContaining("is over") },
  })
  expect(await call({ call: "stage.write", name: "ok", part, last: true })).toMatchObject({ is: "answered" })
  one.say({ id: ++id, verb: "answer", ask: 77 })
  one.say({ id: ++id, verb: "answer", ask })
  const second = await one.hears(({ is }) => is === "hook")
  expect(second).toMatchObject({ hook: "postBoot" })
  one.say({ id: ++id, verb: "call", ask: second.ask, call: "drives.replace", name: "disk0", path: secret })
  expect(await one.hears(({ is }) => is === "refused")).toMatchObject({ error: { code: "BAD_FILE" } })
  one.say({ id: ++id, verb: "call", ask: second.ask, call: "stage.copy", name: "x", path: kernel })
  expect(await one.hears(({ is }) => is === "refused")).toMatchObject({ error: { code: "BAD_PLUGIN" } })
  // An error of a hook's may say anything: it is shown as it is text, and fails the run.
  one.say({ id: ++id, verb: "answer", ask: second.ask, error: "\u001b[2J\nbad" })
  const last = await one.hears(({ is }) => is === "hook")
  expect(last).toMatchObject({ hook: "postStop", again: false })
  one.say({ id: ++id, verb: "answer", ask: last.ask })
  expect(await one.hears(({ is }) => is === "done")).toMatchObject({
    value: { error: { code: "HOOK_FAILED", message: expect.stringContaining("\\x1b[2J") } },
  })
  await one.ended
  expect(readFileSync(secret, "utf8")).toBe("SECRET")
  rmSync(secret)
})

onBoth(
  "whoever says what is no message while their VM runs, or asks for a second thing, has it stopped and released",
  async () => {
    const { ann } = host
    const { kernel } = workOf(ann)
    for (const bytes of [
      "x\n",
      `${JSON.stringify({ id: 2, verb: "list" })}\n`,
      `${JSON.stringify({ id: 1, verb: "answer", ask: 1 })}\n`,
      `{"id":2,`,
      "y".repeat(70_000),
    ]) {
      const one = talk(ann)
      one.say(running(kernel))
      await one.hears(({ is }) => is === "booted")
      one.raw(bytes)
      if (bytes.endsWith(",")) await one.end()
      await one.ended
      expect(records(place)[0]).toMatchObject({ state: expect.stringMatching(/stopped|failed/), handles: "[]" })
      expect(processesOf(place)).toEqual([])
    }
  },
)

test("it serves nobody but by its own name alone, by sudo, and as root", async () => {
  for (const words of [["__helper", "x"], ["--json", "__helper"], ["__helper", "--verbose"], ["ps"], ["run", "x"]]) {
    const { exit, stderr } = await talk(host.ann, { words }).end()
    expect({ words, exit, stderr }).toMatchObject({ exit: 1, stderr: expect.stringMatching(/^sudo: /) })
  }
  const { exit } = await talk(host.eve).end()
  expect(exit).toBe(1)
  const alone = Bun.spawnSync([...asUser(host.ann, { SUDO_UID: "4242" }), host.program, "__helper"], {
    stdin: Buffer.from("{}\n"),
  })
  expect({ exit: alone.exitCode, said: alone.stdout.toString() }).toMatchObject({
    exit: 1,
    said: expect.stringContaining("it is not root"),
  })
  for (const env of [
    { BUN_OPTIONS: "--smol" },
    { NODE_OPTIONS: "x" },
    { LD_BIND_NOW: "1" },
    {},
    { SUDO_UID: "0" },
    { SUDO_UID: "4242x" },
    { SUDO_UID: "77777" },
  ]) {
    const given = Object.entries(env).some(([name]) => name === "SUDO_UID") ? env : { SUDO_UID: "4242", ...env }
    const words = Object.keys(env).length === 0 ? {} : given
    const { exitCode, stdout } = Bun.spawnSync([host.program, "__helper"], {
      stdin: Buffer.from(`${JSON.stringify({ banger: hello })}\n`),
      env: words as Record<string, string>,
    })
    expect({ env, exitCode, said: stdout.toString() }).toMatchObject({
      exitCode: 1,
      said: expect.stringContaining(`"UNTRUSTED"`),
    })
  }
  // What a user may only read is not written to by what root opens anew.
  const fifo = "/run/roots"
  Bun.spawnSync(["mkfifo", "-m", "644", fifo])
  const reader = openSync(fifo, O.RDWR | O.NONBLOCK)
  const readOnly = Bun.spawn([...asUser(host.ann), "sudo", "-n", "--", host.program, "__helper"], {
    stdio: [Buffer.from("x\n"), openSync(fifo, O.RDONLY | O.NONBLOCK), openSync(fifo, O.RDONLY | O.NONBLOCK)],
  })
  await readOnly.exited
  expect(() => readSync(reader, Buffer.alloc(10))).toThrow("EAGAIN")
  // Nor does it go to another place, whatever sudo lets through.
  const elsewhere = {
    SUDO_UID: "4242",
    BANGER_STATE_DIR: "/run/evil",
    HOME: "/run/evil",
    PATH: "/run/evil",
    TMPDIR: "/run/evil",
  }
  const greeting = `${JSON.stringify({ banger: hello })}\n{"id":1,"verb":"list"}\n`
  const moved = Bun.spawnSync([host.program, "__helper"], { stdin: Buffer.from(greeting), env: elsewhere })
  expect(moved.stdout.toString()).toContain(`"done"`)
  expect(existsSync("/run/evil")).toBe(false)
  expect(existsSync(join(place.state, "state.db"))).toBe(true)
  // As root by one's self, with another name for it: not hardened, so not served.
  const { exitCode, stdout } = Bun.spawnSync([host.program, "__helper", "--json"], { env: { SUDO_UID: "4242" } })
  expect({ exitCode, said: stdout.toString() }).toMatchObject({
    exitCode: 2,
    said: expect.stringContaining("the only one"),
  })
})
