import { expect, spyOn, test } from "bun:test"
import { mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs"
import { constants } from "node:os"
import { join } from "node:path"
import { bootId } from "../../../src/base/linux/bootId.ts"
import { close, mkfifoAt, openAt, withDescriptor } from "../../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../../src/base/linux/guards.ts"
import { interpose } from "../../../src/base/linux/interpose.ts"
import { listenUnix } from "../../../src/base/linux/sockets.ts"
import { ownNamespace } from "../../../src/host/process/procfs.ts"
import { type Child, SIGKILL, spawn } from "../../../src/host/process/spawn.ts"
import { findVmm } from "../../../src/host/search/findVmm.ts"
import { wordsOf } from "../../../src/host/search/proof.ts"
import type { VmmQuery } from "../../../src/host/search/query.ts"
import { listenerIn, namedIn, parsePid } from "../../../src/host/search/witnesses.ts"
import { otherPidNamespace } from "../../fixtures/otherPidNamespace.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const { EACCES, EIO, EMFILE, ENOPROTOOPT } = constants.errno
const directory = eachInItsDirectory()
const at = (name: string) => join(directory.path, name)
const O_PATH = 0o10000000
const inside = <T>(use: (dir: number) => T) => withDescriptor(openAt(AT_FDCWD, directory.path, O_PATH), use)

function start(...argv: string[]): Child {
  mkfifoAt(AT_FDCWD, at("in"), 0o600)
  return spawn({ argv, stdin: at("in"), stdout: at("out"), stderr: at("err"), passed: [] })
}
const end = async (child: Child) => {
  child.signal(SIGKILL)
  await child.exited
}
/** What was written down of a VM without a jail. */
const bare = (more: Partial<VmmQuery> = {}): VmmQuery => ({
  ...{ identity: null, bootId: bootId(), console: at("out"), socket: "api.sock" },
  ...{ bare: { directory: directory.path, commandLines: [["--id", "vm-7f3a"]] } },
  ...more,
})
/** Without its process, which is closed. */
function found(sought: VmmQuery) {
  using answer = findVmm(sought)
  const { [Symbol.dispose]: _, ...rest } = answer
  if (rest.is !== "alive") return rest
  const { process: __, ...plain } = rest
  return plain
}

test("an identity that was written down decides, and a socket that another listens on is told of", async () => {
  const child = start("/bin/sleep", "600")
  const { identity } = child
  expect(found(bare({ identity }))).toEqual({ is: "alive", identity, by: "journal", warnings: [] })
  const listener = listenUnix(at("api.sock"), 1)
  const doubt = `${at("api.sock")} names process ${process.pid}, which is not the VMM: left alone`
  expect(found(bare({ identity }))).toEqual({ is: "alive", identity, by: "journal", warnings: [doubt] })
  await end(child)
  expect(found(bare({ identity }))).toMatchObject({ is: "dead", warnings: [doubt] })
  expect(found(bare({ identity: { ...identity, uid: 12345 } }))).toMatchObject({ is: "dead" })
  expect(found(bare({ identity: { ...identity, bootId: "another" } }))).toMatchObject({ is: "dead", warnings: [] })
  close(listener)
})

test("one that nobody wrote down is found by the console it writes, wherever that is", async () => {
  const child = start("/bin/sleep", "600")
  const { identity } = child
  expect(found(bare())).toEqual({ is: "alive", identity, by: "scan", warnings: [] })
  await end(child)
  expect(found(bare())).toEqual({ is: "dead", why: "no process is it", warnings: [] })
})

test("where its console is gone, one of this user with its very command line is found; others with its words are not", async () => {
  // Nobody else's sleep has it.
  const word = `600.${process.pid}`
  const child = start("/bin/bash", "-c", 'exec -a firecracker sleep "$@"', "x", word)
  const words = (...list: string[]) =>
    bare({ console: at("gone"), bare: { directory: directory.path, commandLines: [list] } })
  while (!readFileSync(`/proc/${child.identity.pid}/cmdline`, "latin1").startsWith("firecracker\0")) await Bun.sleep(1)
  expect(found(words(word))).toMatchObject({ is: "alive", by: "scan", identity: { pid: child.identity.pid } })
  for (const list of [["sleep", word], [word, "more"], [word.slice(0, -1)], [word, ""], []])
    expect(found(words(...list)), list.join(" ")).toEqual({ is: "dead", why: "no process is it", warnings: [] })
  await end(child)
})

test("who listens on its socket is it only with its console or command line", async () => {
  const listener = listenUnix(at("api.sock"), 1)
  expect(found(bare())).toEqual({
    is: "dead",
    why: "no process is it",
    warnings: [
      `${at("api.sock")} names process ${process.pid}: neither its output nor its command line is the VM's: left alone`,
    ],
  })
  const own = wordsOf(readFileSync("/proc/self/cmdline", "utf8"))
  const named = bare({ bare: { directory: directory.path, commandLines: [own] } })
  expect(found(named)).toMatchObject({ is: "alive", by: "socket", identity: { pid: process.pid } })
  close(listener)
  // Who asks is not it without that; another process that runs tests beside this one may have the same words.
  const after = found(named)
  expect(after.warnings).toEqual([])
  if (after.is === "alive") expect(after.identity.pid).not.toBe(process.pid)
  else expect(after.is).toBe("dead")
})

test("from another boot it is dead, from another PID namespace unknown", async () => {
  const child = start("/bin/sleep", "600")
  expect(found(bare({ bootId: "another" }))).toMatchObject({ is: "dead", why: "the host was rebooted since" })
  // Seen from the first PID namespace, where every process is, one that has no process is gone.
  const first = readlinkSync("/proc/self/ns/pid") === "pid:[4026531836]"
  if (first && process.geteuid?.() === 0)
    expect(found(bare({ pidNamespace: "1:2:3" }))).toMatchObject({
      is: "dead",
      why: "no process of its PID namespace is left",
    })
  using elsewhere = otherPidNamespace()
  expect(found(bare({ pidNamespace: elsewhere.inode }))).toMatchObject({
    is: "unknown",
    hint: expect.stringContaining("container"),
  })
  expect(found(bare({ pidNamespace: ownNamespace("pid") }))).toMatchObject({ is: "alive" })
  await end(child)
})

test("a socket whose backlog is full, and keeps who asks waiting, is a doubt and no wait", () => {
  const listener = listenUnix(at("api.sock"), 0)
  inside((dir) => {
    const kept = []
    let error: unknown
    // The backlog takes one more than it says.
    for (let n = 0; n < 3 && error === undefined; n++)
      try {
        kept.push(Bun.connect({ unix: at("api.sock"), socket: { data() {} } }))
        listenerIn(dir, "api.sock")
      } catch (thrown) {
        error = thrown
      }
    expect(String(error)).toContain("EAGAIN")
    for (const each of kept) each.then((socket) => socket.end()).catch(() => {})
  })
  expect(found(bare()).warnings.join()).toContain("EAGAIN")
  close(listener)
})

test("what is no socket is nobody's", () => {
  for (const make of [
    () => writeFileSync(at("api.sock"), ""),
    () => mkdirSync(at("api.sock")),
    () => symlinkSync("/run/other.sock", at("api.sock")),
  ]) {
    make()
    expect(found(bare())).toMatchObject({ is: "dead", warnings: [expect.stringContaining("api.sock is not a socket")] })
    Bun.spawnSync(["rm", "-r", at("api.sock")])
  }
})

test.each(["", "text", "-1", "0", "1", "99999999", "4194305", "12 34", "12\n34", "12\r\n", "0x12", " 12", "١٢", "1e3"])(
  "%p is no pid",
  (text) => {
    expect(parsePid(text)).toBeUndefined()
    writeFileSync(at("pid"), text)
    inside((dir) => expect(() => namedIn(dir, "pid")).toThrow("pid holds no pid"))
  },
)

test("a pidfile is its digits, of a regular file of a few bytes", () => {
  for (const text of ["2", "12\n", "4194304"]) {
    writeFileSync(at("pid"), text)
    expect(inside((dir) => namedIn(dir, "pid"))).toEqual([{ pid: Number(text) }])
  }
  writeFileSync(at("big"), "7".repeat(1 << 20))
  mkfifoAt(AT_FDCWD, at("fifo"), 0o600)
  symlinkSync("/etc/passwd", at("link"))
  mkdirSync(at("dir"))
  inside((dir) => {
    expect(namedIn(dir, "missing")).toEqual([])
    for (const name of ["big", "fifo", "dir"]) expect(() => namedIn(dir, name)).toThrow(`${name} holds no pid`)
    expect(() => namedIn(dir, "link")).toThrow("link holds no pid")
  })
})

test("nothing is left open, whatever the answer is", async () => {
  const child = start("/bin/sleep", "600")
  const listener = listenUnix(at("api.sock"), 16)
  const open = () => Array.from(new Bun.Glob("*").scanSync({ cwd: "/proc/self/fd", onlyFiles: false })).length
  const before = open()
  for (const sought of [
    bare(),
    bare({ identity: child.identity }),
    bare({ console: at("gone") }),
    bare({ bootId: "x" }),
  ])
    for (let n = 0; n < 5; n++) found(sought)
  expect(open()).toBe(before)
  await end(child)
  close(listener)
})

/** How many system calls a look makes, and what it says when the `nth` of them fails. */
function failing(sought: VmmQuery, nth: number, errno: number): { calls: number; is: string } {
  let calls = 0
  interpose({ before: (call) => (call !== "close" && ++calls === nth ? errno : 0) })
  // What cannot be read of a process may be so because it is ending, which is waited for: here that time is over at once.
  let now = 0
  const clock = spyOn(performance, "now").mockImplementation(() => (now += 1000))
  try {
    return { is: findAndClose(sought), calls }
  } finally {
    clock.mockRestore()
    interpose(undefined)
  }
}
function findAndClose(sought: VmmQuery): string {
  using answer = findVmm(sought)
  return answer.is
}

test("whichever system call fails, a VMM that runs is never taken for dead, nothing is thrown or left open", async () => {
  const child = start("/bin/sleep", "600")
  const listener = listenUnix(at("api.sock"), 4096)
  const open = () => Array.from(new Bun.Glob("*").scanSync({ cwd: "/proc/self/fd", onlyFiles: false })).length
  const before = open()
  for (const [name, sought] of [
    ["journal", bare({ identity: child.identity })],
    ["search", bare()],
  ] as const) {
    const { calls } = failing(sought, 0, 0)
    expect(calls).toBeGreaterThan(10)
    // Many calls are of other processes, one like the other.
    const points = [...Array(Math.min(calls, 40)).keys(), ...Array.from({ length: 20 }, (_, n) => calls - n)]
    for (const errno of [EIO, EACCES, EMFILE])
      for (const nth of points) expect(failing(sought, nth, errno).is, `${name} ${nth} ${errno}`).not.toBe("dead")
  }
  expect(open()).toBe(before)
  await end(child)
  close(listener)
}, 60_000)

test("on a kernel without SO_PEERPIDFD (before 6.5) the listener is known by its pid", () => {
  const listener = listenUnix(at("api.sock"), 4)
  let options = 0
  interpose({ before: (call) => (call === "getsockopt" && ++options === 2 ? ENOPROTOOPT : 0) })
  try {
    expect(inside((dir) => listenerIn(dir, "api.sock"))).toEqual([{ pid: process.pid, process: undefined }])
  } finally {
    interpose(undefined)
  }
  close(listener)
})
