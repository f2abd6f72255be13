import { afterAll, expect, test } from "bun:test"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { callManager } from "../../../src/host/systemd/bus.ts"
import { ANSWER_MAX_BYTES, packStartTransientUnit, takeAnswer } from "../../../src/host/systemd/message.ts"
import { enterScope, enterVmmScope, planLeaving, type Surroundings } from "../../../src/host/systemd/scope.ts"
import { isOfThisNamespace, parseUnitCgroup, sharesPids } from "../../../src/host/systemd/unitCgroup.ts"

const dir = mkdtempSync(join(tmpdir(), "bus-"))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
let count = 0

const root = { uid: 0, cgroup: "/system.slice/ci.service", system: "/run/systemd/private", user: undefined }
const user = { uid: 1000, system: "/run/systemd/private", user: "/run/user/1000/systemd/private" }
const session = "/user.slice/user-1000.slice/session-3.scope"
const inManager = "/user.slice/user-1000.slice/user@1000.service/app.slice/ci.service"

test.each<[string, Partial<Surroundings>, string]>([
  ["nothing to leave", { cgroup: "/" }, "nothing to leave"],
  ["root, systemd", {}, "scope /run/systemd/private"],
  ["root, no systemd", { system: undefined }, "own cgroup"],
  ["user in their manager", { ...user, cgroup: inManager }, `scope ${user.user}`],
  ["user in a session, lingering", { ...user, cgroup: session, lingers: true }, `scope ${user.user}`],
  ["user in a session", { ...user, cgroup: session }, "stay"],
  ["user without a manager", { ...user, cgroup: session, user: undefined, lingers: true }, "stay"],
])("%s: what is done", (_, around, done) => {
  const plan = planLeaving({ ...root, lingers: false, ...around })
  expect(plan.is === "scope" ? `scope ${plan.socket}` : plan.is).toBe(done)
})

const mounted = (path: string, type: string) => `42 31 0:38 / ${path} rw,nosuid shared:4 - ${type} ${type} rw\n`
const v1 = mounted("/sys/fs/cgroup/systemd", "cgroup")
const alone = mounted("/sys/fs/cgroup", "cgroup2")
const beside = `${v1}${mounted("/sys/fs/cgroup/unified", "cgroup2")}`
const elsewhere = `${v1}${mounted("/mnt/cgroup", "cgroup2")}`

test.each<[string, string, string | undefined, string]>([
  ["v2 alone", "0::/system.slice/a.service\n", alone, "/system.slice/a.service"],
  ["v1 beside v2", "12:memory:/x\n1:name=systemd:/b\n0::/b/c\n", beside, "/b/c"],
  ["v1 alone", "12:memory:/x\n1:name=systemd:/system.slice/a.service\n", v1, "/system.slice/a.service"],
  [
    "v1, and a v2 of somebody's",
    "1:name=systemd:/system.slice/a.service\n0::/\n",
    elsewhere,
    "/system.slice/a.service",
  ],
  ["v1 in the root of all", "1:name=systemd:/\n", v1, "/"],
  ["no systemd, v2", "1:name=systemd:/docker/1\n0::/a\n", undefined, "/a"],
  ["no systemd, v1", "1:name=systemd:/docker/1\n", undefined, "/"],
])("the cgroup of a process is that by which systemd knows it: %s", (_, text, mountinfo, cgroup) => {
  expect(parseUnitCgroup(text, mountinfo)).toBe(cgroup)
})

test("a process of a PID namespace below has pids there too", () => {
  expect(isOfThisNamespace("Tgid:\t307\nNStgid:\t307\nNSpid:\t307\nNSpgid:\t307\n")).toBe(true)
  expect(isOfThisNamespace("Tgid:\t307\nNStgid:\t307\t1\nNSpid:\t307\t1\n")).toBe(false)
  expect(isOfThisNamespace("")).toBe(false)
  expect(isOfThisNamespace(readFileSync("/proc/self/status", "latin1"))).toBe(true)
  expect(sharesPids(peer({}))).toBe(true)
  expect(sharesPids(join(dir, "none"))).toBe(false)
})

const call = packStartTransientUnit(1, "banger-web-1.scope", [
  ["Description", { is: "s", value: "VM wéb" }],
  ["PIDs", { is: "au", value: [0] }],
  ["TimeoutStopUSec", { is: "t", value: 300_000_000n }],
  ["Before", { is: "as", value: ["banger-shutdown.service"] }],
])

test("a call is as busctl sends it", () => {
  // busctl --address=unix:path=… call … StartTransientUnit ssa(sv)a(sa(sv)), recorded; its header without a sender.
  const view = new DataView(call.buffer, call.byteOffset)
  expect(String.fromCharCode(call[0] ?? 0)).toBe("l")
  expect([...call.subarray(1, 4)]).toEqual([1, 0, 1])
  const [body, serial, fields] = [4, 8, 12].map((at) => view.getUint32(at, true))
  expect(serial).toBe(1)
  expect(call.length).toBe(Math.ceil((16 + (fields ?? 0)) / 8) * 8 + (body ?? 0))
  const hex = Buffer.from(call.subarray(call.length - (body ?? 0))).toString("hex")
  const string = (text: string) => {
    const bytes = Buffer.from(text)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(bytes.length)
    return Buffer.concat([length, bytes, Buffer.from([0])]).toString("hex")
  }
  expect(hex.startsWith(`${string("banger-web-1.scope")}00${string("fail")}`)).toBe(true)
  expect(hex).toContain(`${string("PIDs")}0261750000000000`.slice(0, -2))
  expect(hex).toContain(`${string("TimeoutStopUSec")}01740000`.slice(0, -2))
  // 300 s, and an empty list of auxiliary units at the end.
  expect(hex).toContain("00a3e11100000000")
  expect(hex.endsWith("00000000")).toBe(true)
})

/** A peer that says what `answer` makes of the call's serial once the handshake is through, or what it says at once. */
function peer(says: {
  readonly floods?: boolean
  readonly ok?: string
  readonly answer?: (serial: number, call: string) => Uint8Array | undefined
}): string {
  const path = join(dir, `peer-${count++}`)
  Bun.listen<{ begun: boolean }>({
    unix: path,
    socket: {
      drain: (socket) => void (says.floods === true && socket.write(says.answer?.(1, "") ?? new Uint8Array(0))),
      open(socket) {
        socket.data = { begun: false }
      },
      data(socket, bytes) {
        const text = Buffer.from(bytes).toString("latin1")
        if (!socket.data.begun && text.startsWith("\0AUTH EXTERNAL "))
          return void socket.write(says.ok ?? "OK 0123\r\n")
        if (!text.startsWith("BEGIN\r\n")) return void socket.end()
        socket.data.begun = true
        const answer = says.answer?.(new DataView(bytes.buffer, bytes.byteOffset).getUint32(7 + 8, true), text)
        if (answer !== undefined) socket.write(answer)
      },
    },
  }).unref()
  return path
}

function message(type: number, to: number, { error = "", body = "" } = {}): Uint8Array {
  const out: number[] = [0x6c, type, 1, 1, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]
  out.push(5, 1, 0x75, 0, to, 0, 0, 0)
  if (error !== "") out.push(4, 1, 0x73, 0, error.length, 0, 0, 0, ...Buffer.from(error), 0)
  out[12] = out.length - 16
  while (out.length % 8 !== 0) out.push(0)
  const at = out.length
  if (body !== "") out.push(body.length, 0, 0, 0, ...Buffer.from(body), 0)
  out[4] = out.length - at
  return Uint8Array.from(out)
}

const asked = (socket: string, limitMs = 2000) => callManager(socket, { call, serial: 1, uid: 0, limitMs })
const both = (...parts: readonly Uint8Array[]) => Buffer.concat(parts)

test("an answer is heard among signals and answers to others", async () => {
  await asked(peer({ answer: (serial) => both(message(4, 1), message(2, 77), message(2, serial)) }))
  const error = "org.freedesktop.systemd1.UnitExists"
  const refused = peer({ answer: (serial) => message(3, serial, { error, body: "it is there" }) })
  expect(asked(refused)).rejects.toThrow(`${error}: it is there`)
})

test.each<[string, Parameters<typeof peer>[0], string]>([
  ["refuses", { ok: "REJECTED EXTERNAL\r\n" }, "refuses"],
  ["never answers", {}, "no answer in 300 ms"],
  ["says one line without end", { ok: "x".repeat(100_000) }, "D-Bus"],
  ["answers something else", { answer: () => Buffer.from("HTTP/1.1 200 OK\r\n\r\n and more") }, "D-Bus"],
  [
    "announces too much",
    { answer: () => both(Uint8Array.of(0x6c, 2, 1, 1, 0, 0, 0, 255), new Uint8Array(8)) },
    "too much",
  ],
  [
    "sends without end",
    { floods: true, answer: () => both(...Array(20_000).fill(message(4, 1, { body: "x".repeat(100) }))) },
    "too much|D-Bus",
  ],
])("a peer that %s is not waited for long", async (_, says, why) => {
  const begun = performance.now()
  expect(asked(peer(says), 300)).rejects.toThrow(new RegExp(why))
  await asked(peer(says), 300).catch(() => {})
  expect(performance.now() - begun).toBeLessThan(2000)
})

test("nobody there, or no socket", async () => {
  expect(asked(join(dir, "none"))).rejects.toThrow()
  expect(asked("/dev/null")).rejects.toThrow()
})

test("whatever bytes come, they are an answer, not yet one, or an error", () => {
  const whole = message(3, 1, { error: "a.b", body: "text" })
  for (let end = 0; end < whole.length; end++) expect(takeAnswer(whole.slice(0, end))).toBeUndefined()
  expect(takeAnswer(whole)).toEqual({ answer: { to: 1, error: { name: "a.b", text: "text" } }, length: whole.length })
  for (let round = 0; round < 5000; round++) {
    const bytes = Uint8Array.from(whole)
    for (let changes = 0; changes < 4; changes++)
      bytes[Math.floor(Math.random() * bytes.length)] = Math.floor(Math.random() * 256)
    try {
      const taken = takeAnswer(bytes)
      expect(taken?.length ?? 0).toBeLessThanOrEqual(ANSWER_MAX_BYTES)
      expect((taken?.answer.error?.text ?? "").length).toBeLessThan(500)
    } catch (error) {
      expect(error).toBeInstanceOf(Error)
    }
  }
})

/** What a manager is asked for that says no in these words: the units, in order. */
async function askedFor(error: string, ask: (socket: string) => Promise<void>): Promise<readonly string[]> {
  const units: string[] = []
  const answer = (serial: number, text: string) => {
    units.push(/(?<=StartTransientUnit.*)[\w.-]+\.scope/s.exec(text)?.[0] ?? "")
    return message(3, serial, { error, body: "no" })
  }
  await expect(ask(peer({ answer }))).rejects.toThrow(`${error}: no`)
  return units
}

const exists = "org.freedesktop.systemd1.UnitExists"
const vm = { id: "web-1", name: "web" }

test("where something is left in a supervisor's scope, the next one has another, and not without end", async () => {
  const units = await askedFor(exists, (socket) => enterScope(socket, vm))
  const more = Array.from({ length: 8 }, (_, index) => `banger-web-1-${index + 2}.scope`)
  expect(units).toEqual(["banger-web-1.scope", ...more])
  const other = "org.freedesktop.DBus.Error.AccessDenied"
  expect(await askedFor(other, (socket) => enterScope(socket, vm))).toEqual(["banger-web-1.scope"])
})

test("a VMM has a scope of its own, once", async () => {
  for (const pid of ["self", process.pid] as const)
    expect(await askedFor(exists, (socket) => enterVmmScope(socket, { ...vm, pid }))).toEqual([
      "banger-web-1-vmm.scope",
    ])
})
