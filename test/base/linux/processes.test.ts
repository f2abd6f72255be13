import { expect, test } from "bun:test"
import { existsSync, statSync } from "node:fs"
import { join } from "node:path"
import { close } from "../../../src/base/linux/files.ts"
import { pidfdExited, pidfdOpen, pidfdSignal } from "../../../src/base/linux/pidfd.ts"
import { canWrite } from "../../../src/base/linux/poll.ts"
import { listenUnix } from "../../../src/base/linux/sockets.ts"
import { eachInItsDirectory } from "../../temporary.ts"

const directory = eachInItsDirectory()

test("a pidfd hears of the exit, and its signals reach that process or none", async () => {
  const child = Bun.spawn(["sleep", "600"])
  const pidfd = pidfdOpen(child.pid)
  expect(pidfdExited(pidfd)).toBe(false)
  pidfdSignal(pidfd, 9)
  expect(pidfdExited(pidfd, 5000)).toBe(true)
  await child.exited
  expect(child.signalCode).toBe("SIGKILL")
  expect(() => pidfdSignal(pidfd, 9)).toThrow("ESRCH")
  close(pidfd)
  expect(() => pidfdOpen(child.pid)).toThrow("ESRCH")
})

test("waiting goes on after a signal handler ran", async () => {
  const code = `
    import { pidfdExited, pidfdOpen } from "${join(import.meta.dir, "../../../src/base/linux/pidfd.ts")}"
    process.on("SIGUSR1", () => {})
    const sleeper = Bun.spawn(["sleep", "0.5"])
    const killer = Bun.spawn(["sh", "-c", "for i in 1 2 3 4 5; do kill -USR1 " + process.pid + "; sleep 0.05; done"])
    console.log(pidfdExited(pidfdOpen(sleeper.pid), 5000))
    await killer.exited`
  const run = Bun.spawnSync([process.execPath, "-e", code])
  expect({ out: run.stdout.toString(), err: run.stderr.toString() }).toEqual({ out: "true\n", err: "" })
})

test("a listening socket has its mode from the umask and takes connections at once", async () => {
  const path = join(directory.path, "socket")
  const umask = process.umask(0o177)
  const fd = listenUnix(path, 4)
  process.umask(umask)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(() => listenUnix(path, 4)).toThrow(`bind ${path}: EADDRINUSE`)
  const client = await Bun.connect({ unix: path, socket: { data() {} } })
  client.end()
  close(fd)
  expect(existsSync(path)).toBe(true)
})

test("a pipe that is full cannot be written to now, an empty one can", () => {
  const script = `
    import { canWrite } from "${join(import.meta.dir, "../../../src/base/linux/poll.ts")}"
    import { writeSync } from "node:fs"
    const before = canWrite(1)
    let written = 0
    while (canWrite(1)) written += writeSync(1, new Uint8Array(4096))
    console.error(JSON.stringify({ before, written }))`
  const run = Bun.spawnSync([
    "sh",
    "-c",
    '"$1" -e "$2" | { sleep 1; cat > /dev/null; }',
    "sh",
    process.execPath,
    script,
  ])
  expect(JSON.parse(run.stderr.toString())).toEqual({ before: true, written: expect.any(Number) })
  expect(JSON.parse(run.stderr.toString()).written).toBeGreaterThanOrEqual(4096)
  expect(canWrite(2)).toBe(true)
})
