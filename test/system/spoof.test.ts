import { beforeAll, expect, test } from "bun:test"
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { close } from "../../src/linux/files.ts"
import { listenUnix } from "../../src/linux/sockets.ts"
import { cgroupMount } from "../../src/process/cgroup.ts"
import { fixture, start } from "./banger.ts"
import { buildDoubles, type Doubles, kernelOf } from "./doubles.ts"
import { eachInItsPlace, processesOf, records } from "./place.ts"

// What the VM's uid can write (its pidfile, its socket, its name) decides about no process.

let doubles: Doubles
beforeAll(() => {
  doubles = buildDoubles(mkdtempSync("/run/banger-doubles-"))
})
const place = eachInItsPlace()

async function boot() {
  const kernel = kernelOf(place.dir, "PRINT[up]")
  const run = start(place, ["run", fixture("firecracker"), "--", kernel], { ...doubles.env })
  await run.shows("runs as")
  const [record] = records(place)
  const root = join(place.state, "jail/firecracker", record?.id ?? "", "root")
  return { run, root, uid: statSync(root).uid }
}

const victim = () => Bun.spawn(["sleep", "600"], { stdout: "ignore" })

test.each(["", "text", "-1", "0", "1", "99999999", "12 34", "VICTIM", "1\n2", "SYMLINK", "FIFO", "BIG"])(
  "a pidfile of %p gets nobody signalled",
  async (text) => {
    const innocent = victim()
    const { run, root, uid } = await boot()
    const pidfile = join(root, "firecracker.pid")
    unlinkSync(pidfile)
    if (text === "SYMLINK") symlinkSync("/etc/passwd", pidfile)
    else if (text === "FIFO") Bun.spawnSync(["mkfifo", pidfile])
    else writeFileSync(pidfile, text === "VICTIM" ? String(innocent.pid) : text === "BIG" ? "7".repeat(1 << 20) : text)
    if (text !== "SYMLINK") chownSync(pidfile, uid, uid)
    run.signal("SIGKILL")
    await run.ended
    const removed = await start(place, ["rm", "-f", "fc"]).ended
    expect({ exit: removed.exit, stderr: removed.stderr }).toMatchObject({ exit: 0 })
    expect(innocent.signalCode).toBeNull()
    expect(readFileSync(`/proc/${innocent.pid}/stat`, "latin1")).toContain(") S ")
    innocent.kill(9)
    await innocent.exited
  },
)

test("a process of another uid that is named firecracker, with its arguments, is nobody's VM", async () => {
  const innocent = Bun.spawn(["bash", "-c", "exec -a firecracker sleep 600"], { stdout: "ignore" })
  const { run } = await boot()
  expect(processesOf(place)).toHaveLength(1)
  run.signal("SIGKILL")
  await run.ended
  expect((await start(place, ["rm", "-f", "fc"]).ended).exit).toBe(0)
  expect(innocent.signalCode).toBeNull()
  innocent.kill(9)
  await innocent.exited
})

test("a socket that the jail's uid has swapped hears nothing: the stop goes to the VMM that was started", async () => {
  const { run, root, uid } = await boot()
  const path = join(root, "api.sock")
  renameSync(path, `${path}.old`)
  const impostor = listenUnix(path, 1)
  chownSync(path, uid, uid)
  run.signal("SIGINT")
  const { stderr, exit } = await run.ended
  close(impostor)
  expect(stderr).toContain("postStop: guest reset")
  expect(exit).toBe(130)
})

test("a dead VMM's pid that was given to another process is not the VMM, 100 times of 100", async () => {
  const script = join(import.meta.dir, "../fixtures/recycled.ts")
  const inside = ["unshare", "--pid", "--fork", "--mount-proc", process.execPath, script, "100"]
  const child = Bun.spawn(inside, { stdout: "pipe", stderr: "pipe" })
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  expect(err).toBe("")
  expect(JSON.parse(out)).toEqual({ recycled: 100, alive: 0 })
})

test("without a cgroup, what a VMM has left in its jail is ended, and only that", async () => {
  const cgroups = cgroupMount() ?? ""
  expect(Bun.spawnSync(["umount", cgroups]).exitCode).toBe(0)
  try {
    const { run, root, uid } = await boot()
    Bun.spawnSync(["sh", "-c", `cp ${doubles.bin}/firecracker ${root}/left && chmod 755 ${root}/left`])
    const inside = ["chroot", `--userspec=${uid}:${uid}`, "--groups=", root, "/left", "--api-sock", "/left.sock"]
    const left = [1, 2, 3].map((n) => Bun.spawn([...inside.slice(0, -1), `/left${n}.sock`], { stdout: "ignore" }))
    // The same uid, elsewhere: not in the jail.
    const elsewhere = Bun.spawn(["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "sleep", "60"], {
      stdout: "ignore",
    })
    while (!existsSync(join(root, "left3.sock"))) await Bun.sleep(10)
    run.signal("SIGINT")
    const { stderr } = await run.ended
    expect(stderr).toContain("no cgroup v2: the VM is known by its process alone")
    expect(await Promise.all(left.map((child) => child.exited.then(() => child.signalCode)))).toEqual([
      "SIGKILL",
      "SIGKILL",
      "SIGKILL",
    ])
    expect(elsewhere.signalCode).toBeNull()
    elsewhere.kill(9)
    await elsewhere.exited
  } finally {
    Bun.spawnSync(["mount", "-t", "cgroup2", "cgroup2", cgroups])
  }
  // The mount is another one now.
  Object.assign(place.before, { mounts: readFileSync("/proc/self/mountinfo", "utf8") })
})
