import { expect, test } from "bun:test"
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { O, O_DIRECTORY } from "../../../src/base/linux/constants.ts"
import { close, openAt } from "../../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../../src/base/linux/guards.ts"
import { interpose } from "../../../src/base/linux/interpose.ts"
import { pidfdExited, pidfdSignal, reapChild } from "../../../src/base/linux/pidfd.ts"
import { type NewProcess, type NewProgram, startProgram } from "../../../src/base/linux/startProgram.ts"
import { cgroupMount } from "../../../src/host/cgroup/cgroup.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()
const sh = Bun.which("sh") ?? "/bin/sh"

/** Runs a shell's words with its output in a file, to the end. */
function run(
  words: string,
  more: Partial<NewProgram> = {},
): { readonly status: number | undefined; readonly out: string } {
  const out = join(directory.path, "out")
  const fds = [openSync("/dev/null", "r"), openSync(out, "w"), openSync(out, "a")]
  const child = startProgram({ path: sh, argv: ["sh", "-c", words], env: {}, fds, umask: 0o27, ...more })
  for (const fd of fds) closeSync(fd)
  return { status: end(child), out: readFileSync(out, "utf8") }
}

function end({ pidfd }: NewProcess): number | undefined {
  expect(pidfdExited(pidfd, 5000)).toBe(true)
  const status = reapChild(pidfd)
  close(pidfd)
  return status
}

function children(): string {
  return readFileSync(`/proc/self/task/${process.pid}/children`, "utf8")
}

const grep =
  "while read -r name value; do case $name in SigBlk:*|SigIgn:*|Umask:*) echo $name $value;; esac; done </proc/self/status"

test("a program has its own session, umask, environment and directory, and all signals at their default", () => {
  const code = `
    import { startProgram } from "${join(import.meta.dir, "../../../src/base/linux/startProgram.ts")}"
    import { holdSignals } from "${join(import.meta.dir, "../../../src/base/linux/signals.ts")}"
    import { pidfdExited } from "${join(import.meta.dir, "../../../src/base/linux/pidfd.ts")}"
    holdSignals([10, 12])
    const words = ${JSON.stringify(`${grep}; echo $A $(pwd); read -r line </proc/self/stat; set -- $line; echo $(( $1 == $6 ))`)}
    const { pidfd } = startProgram({ path: "${sh}", argv: ["sh", "-c", words], env: { A: "b c", B: undefined }, fds: [0, 1, 2], umask: 0o27 })
    pidfdExited(pidfd, 5000)`
  // As one whose caller ignores signals, and cannot be asked by its terminal.
  const run = Bun.spawnSync(["sh", "-c", 'trap "" HUP INT PIPE; exec "$1" -e "$2"', "sh", process.execPath, code])
  expect(run.stderr.toString()).toBe("")
  expect(run.stdout.toString()).toBe("Umask: 0027\nSigBlk: 0000000000000000\nSigIgn: 0000000000000000\nb c /\n1\n")
})

test("it has copies of the descriptors that it is given, in their order, and no others", () => {
  const names = ["a", "b", "c", "d", "e"].map((name) => join(directory.path, name))
  const fds = names.map((name) => openSync(name, "w"))
  // Whatever their numbers are: 3 and 4 are those of others here.
  const swapped = [...fds].sort((a, b) => b - a)
  const child = startProgram({
    ...{ path: sh, argv: ["sh", "-c", "for fd in 0 1 2 3 4; do eval echo $fd '>&'$fd; done; ls /proc/self/fd >&2"] },
    ...{ env: { PATH: "/usr/bin:/bin" }, fds: swapped, umask: 0o77 },
  })
  for (const fd of fds) closeSync(fd)
  expect(end(child)).toBe(0)
  const said = names.map((name) => readFileSync(name, "utf8"))
  // The last descriptor that ls(1) sees is that of the directory itself.
  expect(said).toEqual(["4\n", "3\n", "2\n0\n1\n2\n3\n4\n5\n", "1\n", "0\n"])
})

test("descriptors below the number of them are copied before they are overwritten", () => {
  const code = `
    import { startProgram } from "${join(import.meta.dir, "../../../src/base/linux/startProgram.ts")}"
    import { pidfdExited } from "${join(import.meta.dir, "../../../src/base/linux/pidfd.ts")}"
    const argv = ["sh", "-c", "echo one; echo two >&2"]
    const { pidfd } = startProgram({ path: "${sh}", argv, env: {}, fds: [0, 2, 1], umask: 0o77 })
    pidfdExited(pidfd, 5000)`
  const run = Bun.spawnSync([process.execPath, "-e", code])
  expect([run.stdout.toString(), run.stderr.toString()]).toEqual(["two\n", "one\n"])
})

test("how it ends is told: by its code, or its signal", () => {
  expect(run("exit 3").status).toBe(3 << 8)
  expect(run("kill -9 $$").status).toBe(9)
  expect(run("echo $0 $1", { argv: ["sh", "-c", "echo $0 $1", "a b", "ü\n"] }).out).toBe("a b ü\n")
})

test.each([
  ["/nonexistent", "execve /nonexistent: ENOENT"],
  ["/", "execve /: EACCES"],
  ["/dev/null", "execve /dev/null: EACCES"],
])("what cannot be run is an error that names it, and leaves no child: %s", (path, words) => {
  const before = [children(), readdirSync("/proc/self/fd").length]
  expect(() => startProgram({ path, argv: ["x"], env: {}, fds: [0, 1, 2], umask: 0 })).toThrow(words)
  expect([children(), readdirSync("/proc/self/fd").length]).toEqual(before)
})

test("a file that is no program, and a descriptor that is closed, are errors too", () => {
  const path = join(directory.path, "text")
  writeFileSync(path, "\0\0\0\0", { mode: 0o700 })
  const start = (more: Partial<NewProgram>) => () =>
    startProgram({ path, argv: ["x"], env: {}, fds: [0, 1, 2], umask: 0, ...more })
  expect(start({})).toThrow("ENOEXEC")
  expect(start({ path: sh, fds: [0, 1, 999] })).toThrow("dup3")
  expect(start({ path: sh, argv: ["a\0b"] })).toThrow("NUL")
  expect(start({ path: sh, fds: [0, 1, -1] })).toThrow("not a file descriptor")
})

test.each([1, 38])("where clone3(2) is refused with %d, as containers do it, clone(2) starts the program", (errno) => {
  using _ = { [Symbol.dispose]: () => interpose(undefined) }
  const calls: string[] = []
  interpose({ before: (call) => (call.startsWith("clone") && calls.push(call) && call === "clone3" ? errno : 0) })
  expect(run("echo up")).toEqual({ status: 0, out: "up\n" })
  expect(calls).toEqual(["clone3", "clone"])
  interpose({ before: (call) => (call === "clone3" ? 11 : 0) })
  expect(() => run("true")).toThrow(/^clone3 .*EAGAIN/)
  interpose({ before: (call) => (call === "clone3" ? errno : call === "clone" ? 11 : 0) })
  expect(() => run("true")).toThrow(/^clone .*EAGAIN/)
})

test("many are started and ended, while signals come and memory is collected", async () => {
  let alarms = 0
  const onSignal = () => {
    alarms++
  }
  process.on("SIGUSR2", onSignal)
  for (let round = 0; round < 100; round++) {
    process.kill(process.pid, "SIGUSR2")
    if (round % 10 === 0) Bun.gc(true)
    expect(run(`exit ${round}`).status).toBe(round << 8)
    if (round % 10 === 0) await Bun.sleep(0)
  }
  await Bun.sleep(1)
  process.off("SIGUSR2", onSignal)
  expect(alarms).toBeGreaterThan(0)
})

const mount = cgroupMount()
test.skipIf(process.geteuid?.() !== 0 || mount === undefined)("it is born in its cgroup", () => {
  const path = `${mount}/banger-test-${process.pid}`
  mkdirSync(path)
  const dir = openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY)
  try {
    const child = startProgram({
      path: sh,
      argv: ["sh", "-c", "read x"],
      env: {},
      fds: [openSync("/dev/zero", "r")],
      umask: 0,
      cgroup: dir,
    })
    expect(child.inCgroup).toBe(true)
    expect(readFileSync(`/proc/${child.pid}/cgroup`, "utf8")).toContain(`0::/banger-test-${process.pid}\n`)
    expect(readFileSync(`${path}/cgroup.procs`, "utf8")).toBe(`${child.pid}\n`)
    expect(readlinkSync(`/proc/${child.pid}/cwd`)).toBe("/")
    pidfdSignal(child.pidfd, 9)
    expect(end(child)).toBe(9)
  } finally {
    close(dir)
    rmdirSync(path)
  }
  // One that is gone, and one that is none.
  const start = (cgroup: number) => () =>
    startProgram({ path: sh, argv: ["sh"], env: {}, fds: [0, 1, 2], umask: 0, cgroup })
  expect(start(0)).toThrow("EBADF")
})

test("a profiler, which stops this thread again and again, does not keep a program from being started", async () => {
  const code = `
    import { startProgram } from "${join(import.meta.dir, "../../../src/base/linux/startProgram.ts")}"
    import { pidfdExited } from "${join(import.meta.dir, "../../../src/base/linux/pidfd.ts")}"
    for (let round = 0; round < 300; round++) {
      const { pidfd } = startProgram({ path: "/bin/true", argv: ["true"], env: {}, fds: [0, 1, 2], umask: 0o27 })
      if (!pidfdExited(pidfd, 5000)) throw new Error("it has not ended")
    }
    console.log("all started")`
  const profiled = ["--cpu-prof", "--cpu-prof-interval=100", `--cpu-prof-dir=${directory.path}`]
  const child = Bun.spawn([process.execPath, ...profiled, "-e", code], {
    stdout: "pipe",
    timeout: 20_000,
    killSignal: 9,
  })
  expect(await new Response(child.stdout).text()).toBe("all started\n")
}, 30_000)
