import { expect, test } from "bun:test"
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { close, mkfifoAt } from "../../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../../src/base/linux/guards.ts"
import { pidfdExited, pidfdOpen, reapChild } from "../../../src/base/linux/pidfd.ts"
import { processLiveness } from "../../../src/host/process/identity.ts"
import { closingAll } from "../../../src/host/process/pidRef.ts"
import { parsePermitted, parseSingleUid, parseStartTime } from "../../../src/host/process/procfs.ts"
import { type Child, SIGKILL, spawn } from "../../../src/host/process/spawn.ts"
import { holdersOf } from "../../../src/host/search/holders.ts"
import type { ProcessIdentity } from "../../../src/store/state/handles.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

function start(...argv: string[]): Child {
  const at = (name: string) => join(directory.path, name)
  mkfifoAt(AT_FDCWD, at("in"), 0o600)
  return spawn({ argv, stdin: at("in"), stdout: at("out"), stderr: at("err"), passed: [] })
}

function isOf(identity: ProcessIdentity) {
  using answer = processLiveness(identity)
  return answer.is
}

const FIELDS = Array.from({ length: 50 }, (_, index) => String(index + 3))
test.each(["sleep", "two words", ") R 1 1 1", "((", ")"])(
  "the start time is found behind the command name %p",
  (comm) => {
    expect(parseStartTime(`4321 (${comm}) S ${FIELDS.slice(1).join(" ")}\n`)).toBe(22)
  },
)

test("a stat line that is cut off has no start time", () => {
  for (const text of ["", "1 (x) S 1 2", "1 (x"]) expect(parseStartTime(text)).toBeUndefined()
})

test("a process has one uid only when all four are the same", () => {
  expect(parseSingleUid("Name:\tx\nUid:\t5\t5\t5\t5\nGid:\t1\t1\t1\t1\n")).toBe(5)
  expect(parseSingleUid("Uid:\t5\t0\t5\t5\n")).toBeUndefined()
  expect(parseSingleUid("")).toBeUndefined()
})

test("a process's capabilities are read as one number", () => {
  expect(parsePermitted("CapInh:\t0000000000000000\nCapPrm:\t000001fffeffffff\nCapEff:\t0\n")).toBe(0x1fffeffffffn)
  expect(parsePermitted("")).toBeUndefined()
})

test("a child is proven alive, and proven dead when it has ended", async () => {
  const child = start("/bin/sleep", "600")
  expect(isOf(child.identity)).toBe("alive")
  child.signal(SIGKILL)
  expect(await child.exited).toEqual({ code: null, signal: "SIGKILL" })
  expect(isOf(child.identity)).toBe("dead")
  child.signal(SIGKILL)
})

test("what does not agree is never taken for alive", async () => {
  const child = start("/bin/sleep", "600")
  const { identity } = child
  expect(processLiveness({ ...identity, bootId: "another" })).toMatchObject({
    is: "dead",
    why: "the host was rebooted since",
  })
  expect(processLiveness({ ...identity, startTime: identity.startTime + 1 }).is).toBe("dead")
  expect(processLiveness({ ...identity, uid: identity.uid + 1 }).is).toBe("unknown")
  expect(processLiveness({ ...identity, root: "1:1" }).is).toBe("unknown")
  expect(processLiveness({ ...identity, pid: 2 ** 30 }).is).toBe("dead")
  child.signal(SIGKILL)
  await child.exited
})

test("what was written down by an older banger, without namespaces, is still known", async () => {
  const child = start("/bin/sleep", "600")
  const { pidNamespace, timeNamespace, ...older } = child.identity
  expect([pidNamespace, timeNamespace]).toEqual([
    expect.stringMatching(/^\d+:\d+:\d+$/),
    expect.stringMatching(/^\d+:\d+:\d+$/),
  ])
  expect(isOf(older)).toBe("alive")
  child.signal(SIGKILL)
  await child.exited
})

test.skipIf(process.geteuid?.() !== 0).each([
  ["PID", ["--pid", "--mount-proc"]],
  ["time", ["--time"]],
])("from another %s namespace a VM that runs is not taken for dead", async (kind, flags) => {
  const child = start("/bin/sleep", "600")
  // Before Linux 6.9, whose pidfds have inodes of their own, a start time of another clock tells nothing.
  const { pidfd: _, ...identity } = child.identity
  const code = `
    import { processLiveness } from "${join(import.meta.dir, "../../../src/host/process/identity.ts")}"
    console.log(JSON.stringify(processLiveness(${JSON.stringify(identity)})))`
  const run = Bun.spawnSync(["unshare", ...flags, "--fork", process.execPath, "-e", code])
  expect(JSON.parse(run.stdout.toString())).toEqual({
    is: "unknown",
    why: `it was started in another ${kind} namespace`,
    hint: "do this in the container that the VM was started in",
  })
  child.signal(SIGKILL)
  await child.exited
})

test.skipIf(process.geteuid?.() !== 0)("from another time namespace it is known by its pidfd's inode", async () => {
  const child = start("/bin/sleep", "600")
  const { identity } = child
  if (identity.pidfd === undefined) return child.signal(SIGKILL)
  const code = `
    import { processLiveness } from "${join(import.meta.dir, "../../../src/host/process/identity.ts")}"
    const own = ${JSON.stringify(identity)}
    const { is } = processLiveness(own)
    console.log(JSON.stringify([is, processLiveness({ ...own, pidfd: own.pidfd + "1" }).is]))`
  const flags = ["--time", "--boottime", "1000000", "--fork"]
  const run = Bun.spawnSync(["unshare", ...flags, process.execPath, "-e", code])
  expect(JSON.parse(run.stdout.toString())).toEqual(["alive", "dead"])
  child.signal(SIGKILL)
  await child.exited
})

test("a VMM gets a session, a private umask, no environment and no descriptor but its own", async () => {
  const child = start("/bin/sh", "-c", "echo up; read line")
  const { pid } = child.identity
  // Before, its loader has libraries open.
  while (readFileSync(join(directory.path, "out"), "latin1") === "") await Bun.sleep(1)
  const proc = (name: string) => readFileSync(`/proc/${pid}/${name}`, "latin1")
  expect(readdirSync(`/proc/${pid}/fd`)).toEqual(["0", "1", "2"])
  expect(proc("environ")).toBe("")
  expect(proc("status")).toContain("Umask:\t0077")
  expect(readlinkSync(`/proc/${pid}/cwd`)).toBe("/")
  expect(proc("stat").split(") ")[1]?.split(" ")[3]).toBe(String(pid))
  expect(statSync(join(directory.path, "out")).mode & 0o777).toBe(0o600)
  child.signal(SIGKILL)
  await child.exited
})

test("a program that is not there is an error, and leaves no child", () => {
  expect(() => start("/nonexistent/qemu")).toThrow("ENOENT")
})

// One descriptor short of each in turn: the pidfd, what is read of the child, none.
test.each([3, 4, 5])("with %d descriptors left no child is started and forgotten", (left) => {
  mkfifoAt(AT_FDCWD, join(directory.path, "in"), 0o600)
  const code = `
    import { closeSync, openSync } from "node:fs"
    import { spawn } from "${join(import.meta.dir, "../../../src/host/process/spawn.ts")}"
    const at = (name) => "${directory.path}/" + name
    const fds = []
    try { for (;;) fds.push(openSync("/dev/null")) } catch {}
    for (const fd of fds.slice(-${left})) closeSync(fd)
    const launch = { argv: ["/bin/sleep", "600"], stdin: at("in"), stdout: at("out"), stderr: at("err"), passed: [] }
    try { spawn(launch).signal(9) } catch (error) { console.log(error.code) }`
  const run = Bun.spawnSync(["sh", "-c", 'ulimit -n 64; exec "$1" -e "$2"', "sh", process.execPath, code])
  expect(run.stdout.toString()).toBe(left < 5 ? "EMFILE\n" : "")
  const holders = holdersOf(join(directory.path, "out"))
  using _ = closingAll(holders)
  for (const holder of holders) expect(holder.hasExited(5000)).toBe(true)
})

test("a VMM nobody wrote down is found by the console it writes to", async () => {
  const child = start("/bin/sleep", "600")
  const out = join(directory.path, "out")
  expect(pidsOf(out)).toEqual([child.identity.pid])
  child.signal(SIGKILL)
  await child.exited
  expect(pidsOf(out)).toEqual([])
  expect(pidsOf(join(directory.path, "none"))).toEqual([])
  writeFileSync(join(directory.path, "other"), "")
  expect(pidsOf(join(directory.path, "other"))).toEqual([])
})

test.skipIf(process.geteuid?.() !== 0)(
  "a process of ours whose descriptors root may not see is not taken for gone",
  async () => {
    const code = `
    import { holdersOf } from "${join(import.meta.dir, "../../../src/host/search/holders.ts")}"
    try { console.log(holdersOf("${join(directory.path, "out")}").length) } catch (error) { console.log(error.message) }`
    // Another uid, without the right to look into it: as a jailed VMM is to a root without CAP_SYS_PTRACE.
    const child = start(
      Bun.which("setpriv") ?? "",
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
      "sh",
      "-c",
      "echo up; read line",
    )
    while (readFileSync(join(directory.path, "out"), "latin1") === "") await Bun.sleep(1)
    const run = Bun.spawnSync(["setpriv", "--bounding-set=-sys_ptrace", process.execPath, "-e", code])
    // Of this process, or of another such one that the host happens to run.
    expect(run.stdout.toString()).toMatch(/^process \d+ may be it: /)
    child.signal(SIGKILL)
    await child.exited
  },
)

function pidsOf(path: string): readonly number[] {
  const holders = holdersOf(path)
  using _ = closingAll(holders)
  return holders.map(({ pid }) => pid)
}

test("how each of many children ends is told, in whatever order they end", async () => {
  mkfifoAt(AT_FDCWD, join(directory.path, "in"), 0o600)
  const ends = await Promise.all(
    Array.from({ length: 100 }, async (_, number) => {
      const at = (name: string) => join(directory.path, name)
      const words = number % 2 === 0 ? `exit ${number}` : "kill -15 $$"
      const argv = ["/bin/sh", "-c", words]
      const child = spawn({ argv, stdin: at("in"), stdout: at("out"), stderr: at("err"), passed: [] })
      const other = Bun.spawn(["/bin/true"])
      const [{ code, signal }] = await Promise.all([child.exited, other.exited])
      return code ?? signal
    }),
  )
  expect(ends).toEqual(Array.from({ length: 100 }, (_, number) => (number % 2 === 0 ? number : "SIGTERM")))
  expect(process.listenerCount("SIGCHLD")).toBe(0)
})

test("a child that other code has waited for has ended all the same", async () => {
  const child = start("/bin/sleep", "600")
  child.signal(SIGKILL)
  const pidfd = pidfdOpen(child.identity.pid)
  expect(pidfdExited(pidfd, 5000)).toBe(true)
  expect(reapChild(pidfd)).toBe(SIGKILL)
  close(pidfd)
  const { signal } = await child.exited
  // Linux 6.15 tells how.
  expect(["SIGKILL", null]).toContain(signal)
})
