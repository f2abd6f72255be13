import { beforeAll, expect, test } from "bun:test"
import {
  chmodSync,
  chownSync,
  existsSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { bootId } from "../../src/base/linux/bootId.ts"
import { close, inodeOf, statPath } from "../../src/base/linux/files.ts"
import { listenUnix } from "../../src/base/linux/sockets.ts"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { findVmm } from "../../src/host/search/findVmm.ts"
import type { VmmQuery } from "../../src/host/search/query.ts"
import { readHandles } from "../../src/store/state/handles.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { vmmQuery } from "../../src/vm/liveness.ts"
import { fixture, start } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildDoubles, type Doubles, kernelOf } from "./support/doubles.ts"
import { eachInItsPlace, lookAtHost, processesOf, records } from "./support/place.ts"

const newDirectory = directoriesOfFile()

// What the VM's uid can write (its pidfile, its socket, its name) decides about no process.

let doubles: Doubles
beforeAll(() => {
  const dir = newDirectory()
  // Others run them too.
  chmodSync(dir, 0o711)
  doubles = buildDoubles(dir)
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

test.each([
  ["", "holds no pid"],
  ["text", "holds no pid"],
  ["-1", "holds no pid"],
  ["0", "holds no pid"],
  ["1", "holds no pid"],
  ["99999999", "holds no pid"],
  ["12 34", "holds no pid"],
  ["1\n2", "holds no pid"],
  ["SYMLINK", "holds no pid"],
  ["FIFO", "holds no pid"],
  ["BIG", "holds no pid"],
  ["VICTIM", "names process VICTIM, which is not the VMM: left alone"],
])("a pidfile of %p gets nobody signalled, and is told of", async (text, words) => {
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
  expect(removed.stderr).toContain("firecracker.pid")
  expect(removed.stderr).toContain(words.replace("VICTIM", String(innocent.pid)))
  expect(innocent.signalCode).toBeNull()
  expect(readFileSync(`/proc/${innocent.pid}/stat`, "latin1")).toContain(") S ")
  innocent.kill(9)
  await innocent.exited
})

test("a process of another uid that is named firecracker, with its arguments, is nobody's VM", async () => {
  const { run } = await boot()
  const id = records(place)[0]?.id ?? ""
  const away = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"]
  const socket = `/tmp/banger-spoof-${process.pid}.sock`
  const stranger = Bun.spawn([...away, join(doubles.bin, "firecracker"), "--id", id, "--api-sock", socket], {
    stdout: "ignore",
  })
  while (!existsSync(socket)) await Bun.sleep(5)
  expect(readFileSync(`/proc/${stranger.pid}/comm`, "utf8")).toBe("firecracker\n")
  // Looked for by its command line alone, as one without a jail would be.
  const bare = { directory: place.runtime, commandLines: [["--id", id, "--api-sock", socket]] }
  const lost = { identity: null, cgroup: undefined, console: "/nonexistent", jail: undefined, bare, socket: undefined }
  const words = `/proc names process ${stranger.pid}: it has uid 65533, not 0: left alone`
  expect(told(lost)).toEqual({ is: "dead", why: "no process is it", warnings: [words] })
  run.signal("SIGKILL")
  await run.ended
  expect((await start(place, ["rm", "-f", "fc"]).ended).exit).toBe(0)
  expect(stranger.signalCode).toBeNull()
  stranger.kill(9)
  await stranger.exited
  unlinkSync(socket)
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
  expect(stderr).toContain(`${path} names process ${process.pid}, which is not the VMM: left alone`)
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

/** What is told of the VMM of a run, with what is changed in what was written down; its process closed. */
function told(change: Partial<VmmQuery>) {
  const [record] = records(place)
  const layout = vmLayout({ state: place.state, runtime: place.runtime }, record?.id ?? "")
  const handles = readHandles(layout.handles)
  if (handles.is !== "good") throw new Error(`its handles are ${handles.is}`)
  const sought = vmmQuery(handles.journal, layout, bootId())
  if (sought === undefined) throw new Error("no process is on the journal")
  using found = findVmm({ ...sought, ...change })
  const { [Symbol.dispose]: _, ...rest } = found
  return rest
}

test("a VMM whose identity was not written down is found by each witness in turn, and proven by uid and root", async () => {
  const { run, root, uid } = await boot()
  const [pid = 0] = processesOf(place)
  const journal = told({})
  expect(journal).toMatchObject({ is: "alive", by: "journal", identity: { pid }, warnings: [] })
  const lost = { identity: null }
  const runsAs = { uid, root: inodeOf(statPath(root)) }
  const { startTime, pidfd } = journal.is === "alive" ? journal.identity : { startTime: 0, pidfd: "" }
  const whole = { pid, startTime, pidfd, bootId: bootId(), ...runsAs, runsAs }
  expect(told(lost)).toMatchObject({ is: "alive", by: "cgroup", identity: whole, warnings: [] })
  const without = { ...lost, cgroup: undefined }
  expect(told(without)).toMatchObject({ is: "alive", by: "socket", identity: whole, warnings: [] })
  expect(told({ ...without, socket: undefined })).toMatchObject({ is: "alive", by: "pidfile", identity: whole })
  const nothing = { ...without, socket: undefined, pidfile: undefined }
  expect(told(nothing)).toMatchObject({ is: "alive", by: "scan", identity: whole })
  expect(told({ ...nothing, console: "/nonexistent" })).toMatchObject({ is: "alive", by: "scan", identity: whole })
  // Another directory where the jail was: then nothing in it counts, and nothing can be told.
  const moved = { path: root, root: "1:2:3" }
  expect(told({ ...nothing, jail: moved })).toMatchObject({
    is: "unknown",
    why: expect.stringContaining("another directory"),
  })
  run.signal("SIGINT")
  await run.ended
})

test("without its identity, no pidfile, socket, name or argument makes another process the VMM", async () => {
  const { run, root, uid } = await boot()
  const [pid = 0] = processesOf(place)
  const away = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"]
  const id = records(place)[0]?.id ?? ""
  const named = ["bash", "-c", "read line", "firecracker", "--id", id, "--api-sock", "/api.sock"]
  const strangers = [
    victim(),
    Bun.spawn([...away, "sleep", "600"], { stdout: "ignore" }),
    Bun.spawn(named, { stdin: "pipe", stdout: "ignore" }),
  ]
  const pidfile = join(root, "firecracker.pid")
  const path = join(root, "api.sock")
  renameSync(path, `${path}.old`)
  const impostor = listenUnix(path, 4)
  const without = { identity: null, cgroup: undefined }
  for (const { pid: stranger } of strangers) {
    unlinkSync(pidfile)
    writeFileSync(pidfile, String(stranger))
    expect(told({ ...without, socket: undefined })).toMatchObject({
      ...{ is: "alive", by: "scan", identity: { pid } },
      warnings: [expect.stringMatching(new RegExp(`firecracker.pid names process ${stranger}: it .*: left alone`))],
    })
  }
  expect(told({ ...without, pidfile: undefined })).toMatchObject({
    ...{ is: "alive", by: "scan", identity: { pid } },
    warnings: [`${path} names process ${process.pid}: it is not in the VM's jail: left alone`],
  })
  close(impostor)
  run.signal("SIGINT")
  await run.ended
  for (const stranger of strangers) {
    expect(stranger.signalCode).toBeNull()
    stranger.kill(9)
    await stranger.exited
  }
})

test("root that may not look into the VMM cannot tell, and removes nothing", async () => {
  const { run } = await boot()
  const [record] = records(place)
  const handles = join(place.state, "vms", record?.id ?? "", "handles.json")
  run.signal("SIGKILL")
  await run.ended
  const blind = ["setpriv", "--bounding-set=-sys_ptrace"]
  const refused = await start(place, ["rm", "fc"], {}, { through: blind }).ended
  expect(refused.exit).toBe(1)
  expect(refused.stderr).toMatch(/cannot tell whether fc \(fc-.*\) runs: /)
  expect(existsSync(handles)).toBe(true)
  expect((await start(place, ["rm", "-f", "fc"]).ended).exit).toBe(0)
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
  Object.assign(place, { expectHostUnchanged: lookAtHost() })
})
