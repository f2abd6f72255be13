import { expect, test } from "bun:test"
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { cgroupMount } from "../../src/host/cgroup/cgroup.ts"
import { banger, fixture, startGuest } from "./support/banger.ts"
import { eachInItsPlace, processesOf, records } from "./support/place.ts"

const place = eachInItsPlace()
const status = (pid: number, field: string) =>
  new RegExp(`^${field}:\\s*(.*)$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]?.split(/\s+/)

test("a real guest boots in a jail: its own root, uid and groups, no new privileges, a seccomp filter, a cgroup", async () => {
  const disk = join(place.dir, "disk.img")
  writeFileSync(disk, new Uint8Array(1024 * 1024), { mode: 0o640 })
  const before = statSync(disk)
  const script = "echo written > /dev/vda; echo up; sleep 600"
  const run = startGuest(place, script, { drives: [{ path: disk }, { path: disk, readonly: true, id: "ro" }] })
  await run.shows("up")
  const [record] = records(place)
  const [pid = 0] = processesOf(place)
  const root = join(place.state, "jail/qemu", record?.id ?? "", "root")

  expect(readlinkSync(`/proc/${pid}/root`)).toBe(root)
  expect(statSync(`/proc/${pid}/root/.`).ino).toBe(statSync(root).ino)
  const uid = String(statSync(root).uid)
  expect(Number(uid)).toBeGreaterThanOrEqual(1_900_000_000)
  expect(status(pid, "Uid")).toEqual([uid, uid, uid, uid])
  expect(status(pid, "Gid")).toEqual([uid, uid, uid, uid])
  expect((status(pid, "Groups") ?? []).filter((group) => group !== "" && group !== uid)).toEqual([])
  for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) expect(status(pid, set)).toEqual(["0000000000000000"])
  expect(status(pid, "NoNewPrivs")).toEqual(["1"])
  expect(status(pid, "Seccomp")).toEqual(["2"])

  expect(statSync(root).mode & 0o7777).toBe(0o700)
  expect(statSync(join(root, "..")).mode & 0o7777).toBe(0o711)
  expect(statSync(join(root, "..")).uid).toBe(0)
  expect(optionsBelow(root)).toEqual({
    "": "rw,nosuid,nodev,noexec,relatime",
    "/initrd": "ro,nosuid,nodev,noexec,relatime,nosymfollow",
    "/kernel": "ro,nosuid,nodev,noexec,relatime,nosymfollow",
  })
  // Descriptors: the console's FIFO and file, the log, the control socket, the disks, and what it made itself.
  const outside = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
  const files = outside.filter((target) => target.startsWith("/") && !target.startsWith(root) && target !== "/dev/null")
  expect(
    files.every((path) => path.startsWith(place.dir)),
    files.join(" "),
  ).toBe(true)
  const cgroup = join(cgroupMount() ?? "", "banger", record?.id ?? "")
  expect(readFileSync(join(cgroup, "cgroup.procs"), "utf8").trim()).toBe(String(pid))

  run.signal("SIGINT")
  expect((await run.ended).exit).toBe(130)
  expect(readFileSync(disk).every((byte) => byte === 0)).toBe(true)
  const { mode, uid: owner, nlink, mtimeMs } = statSync(disk)
  expect({ mode, owner, nlink, mtimeMs }).toEqual({ mode: before.mode, owner: 0, nlink: 1, mtimeMs: before.mtimeMs })
})

test("what a guest wrote can be copied out of the jail before it goes", async () => {
  const disk = join(place.dir, "disk.img")
  writeFileSync(disk, new Uint8Array(4096))
  const saved = join(place.dir, "saved.img")
  const spec = JSON.stringify({ drives: [{ path: disk }] })
  const run = await banger(place, ["run", fixture("guest"), "--", "printf kept > /dev/vda", spec, saved])
  expect(run.exit).toBe(0)
  expect(readFileSync(saved, "latin1").slice(0, 4)).toBe("kept")
  expect(readFileSync(disk).includes("kept")).toBe(false)
})

test("a uid that is another live VM's is refused; its own comes back when the jail is gone", async () => {
  const first = startGuest(place, "echo up; sleep 600", { jail: { uid: 1_900_000_007 }, name: "first" })
  await first.shows("up")
  const second = await startGuest(place, "", { jail: { uid: 1_900_000_007 }, name: "second" }).ended
  expect(second.stderr).toContain("uid 1900000007 is in use by the VM first-")
  expect(second.exit).toBe(1)
  first.signal("SIGINT")
  await first.ended
  const third = await startGuest(place, "echo again", { jail: { uid: 1_900_000_007 }, name: "third" }).ended
  expect(third.stdout).toContain("again")
  expect(third.exit).toBe(0)
})

test.each([
  [{ jail: { uid: 0 } }, "jail.uid is 0; allowed: a whole number from 1"],
  [{ jail: { uid: 65534 } }, "65534 is nobody"],
  [{ jail: { user: 5 } }, "jail"],
  [{ limits: { memory: "64M" } }, "limits.memory: less than the guest's memory"],
  [{ limits: { io: [{ device: "/dev/null", readOps: 1 }] } }, "/dev/null is not a block device"],
  [{ limits: { memory: "1G", cpus: 0.5 } }, "has no memory, cpu controller"],
])("%j is refused before anything is made", async (spec, words) => {
  const { stderr, exit } = await startGuest(place, "", spec).ended
  expect(stderr).toContain(words)
  expect(exit).not.toBe(0)
  expect(records(place)).toEqual([])
})

test("a file with two names is not linked into a jail, nor one of another uid", async () => {
  const disk = join(place.dir, "disk.img")
  writeFileSync(disk, new Uint8Array(4096))
  const foreign = await startGuest(place, "", { drives: [{ path: disk, stage: "link" }] }).ended
  expect(foreign.stderr).toMatch(/disk.img cannot be linked into the jail: it belongs to uid 0, the jail to uid 19\d+/)
  Bun.spawnSync(["chown", "1900000009", disk])
  linkSync(disk, `${disk}.2`)
  const shared = await startGuest(place, "", { jail: { uid: 1_900_000_009 }, drives: [{ path: disk, stage: "link" }] })
    .ended
  expect(shared.stderr).toContain("cannot be linked into the jail: it has 2 names")
})

test("a disk that is the jail uid's alone can be linked or bound, and keeps what the guest writes", async () => {
  for (const stage of ["link", "bind"]) {
    const disk = join(place.state, `${stage}.img`)
    mkdirSync(place.state, { recursive: true, mode: 0o711 })
    writeFileSync(disk, new Uint8Array(4096))
    Bun.spawnSync(["chown", "1900000010:1900000010", disk])
    const spec = { jail: { uid: 1_900_000_010 }, drives: [{ path: disk, stage }] }
    const { exit, stderr } = await startGuest(place, "printf kept > /dev/vda; sync", spec).ended
    expect({ exit, stderr }).toMatchObject({ exit: 0 })
    expect(readFileSync(disk, "latin1").slice(0, 4)).toBe("kept")
    expect(statSync(disk)).toMatchObject({ nlink: 1, uid: 1_900_000_010 })
  }
})

test("a banger killed while its guest runs in a jail: rm -f takes all of it", async () => {
  const run = startGuest(place, "echo up; sleep 600")
  await run.shows("up")
  const [record] = records(place)
  run.signal("SIGKILL")
  await run.ended
  expect((await banger(place, ["rm", record?.id ?? ""])).stderr).toContain("still runs as process")
  expect(existsSync(join(place.state, "jail/qemu", record?.id ?? "", "root/kernel"))).toBe(true)
  expect((await banger(place, ["rm", "-f", record?.id ?? ""])).exit).toBe(0)
})

function optionsBelow(root: string): Record<string, string> {
  const lines = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
  const below = lines.filter(([, , , , point = ""]) => point === root || point.startsWith(`${root}/`))
  return Object.fromEntries(
    below.map(([, , , , point = "", options = ""]) => [point.slice(root.length), options]).sort(),
  )
}
