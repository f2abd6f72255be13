import { expect, test } from "bun:test"
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import * as v from "valibot"
import { LOCK, O } from "../../src/base/linux/constants.ts"
import { close, flock, inodeOf, lockWhole, openAt, statPath, tryFlock } from "../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../src/base/linux/guards.ts"
import { listenUnix } from "../../src/base/linux/sockets.ts"
import { SWEEP_UID } from "../../src/store/state/uids.ts"
import { type SweepReport, sweepReportSchema } from "../../src/upkeep/sweep/sweep.ts"
import { OWNER } from "../fixtures/jail.ts"
import { makeDead, makeDeadNamed } from "../fixtures/sockets/crowd.ts"
import { banger, type Ended, start } from "./support/banger.ts"
import { mountImage } from "./support/mountImage.ts"
import { eachInItsPlace } from "./support/place.ts"
import { directoryIn, sweepNow, verdicts } from "./support/sweeping.ts"

const place = eachInItsPlace()
const NOW = ["--grace", "0s", "--confirm", "1"] as const

async function sweep(...words: readonly string[]): Promise<Ended> {
  return banger(place, ["sweep", ...words])
}

function reportOf({ stdout }: Ended): SweepReport {
  return v.parse(sweepReportSchema, JSON.parse(stdout))
}

test("dead sockets go, here and one level down; a second sweep has nothing to say", async () => {
  const dir = directoryIn(place.dir, "sockets")
  mkdirSync(join(dir, "service/deep"), { recursive: true })
  const live = listenUnix(join(dir, "live.sock"), 1)
  for (const name of ["a.sock", "service/rpc.sock", "service/deep/far.sock"]) makeDead(join(dir, name))
  const first = await sweep(dir, ...NOW)
  expect(first).toMatchObject({ exit: 0, stdout: "" })
  expect(first.stderr).toContain("3 sockets in 2 directories: 1 alive, 2 removed")
  expect(readdirSync(dir, { recursive: true }).map(String).sort()).toEqual([
    "live.sock",
    "service",
    "service/deep",
    "service/deep/far.sock",
  ])
  expect(await sweep(dir, ...NOW)).toEqual({ exit: 0, stdout: "", stderr: "" })
  expect((await sweep(dir, ...NOW, "--depth", "2", "--quiet")).stderr).toBe("")
  expect(existsSync(join(dir, "service/deep/far.sock"))).toBe(false)
  close(live)
})

test("a dry run changes nothing, and says how a socket would be removed", async () => {
  const dir = directoryIn(place.dir, "sockets", 0o755)
  makeDead(join(dir, "a.sock"))
  const { stdout, stderr, exit } = await sweep(dir, "--dry-run", ...NOW)
  expect(stdout).toMatch(/^\S+\/a\.sock: dead for \d+m?s\n$/)
  expect(stderr).toContain("chmod +t on the directory makes it exact")
  expect(exit).toBe(0)
  expect(readdirSync(dir)).toEqual(["a.sock"])
  expect(existsSync(place.runtime)).toBe(false)
})

test("the report as JSON has every socket, with names that are no UTF-8; on a terminal they are harmless", async () => {
  const dir = directoryIn(place.dir, "sockets")
  const names = [
    Buffer.from("new\nline"),
    Buffer.from("\x1b[2Jclear"),
    Buffer.from([0x66, 0xff, 0x2e, 0x73]),
    Buffer.from("-rf"),
    Buffer.from(" space "),
    Buffer.from("ü".repeat(127)),
    Buffer.alloc(255, 0x78),
  ]
  for (const name of names) makeDeadNamed(dir, name)
  const shown = await sweep(dir, "--dry-run", ...NOW)
  expect(shown.stdout.split("\n")).toHaveLength(names.length + 1)
  expect(shown.stdout).toContain('/new\\nline":')
  expect(shown.stdout).toContain('/f\\xff.s":')
  expect(shown.stdout).not.toContain("\x1b")
  const ended = await sweep(dir, "--json", ...NOW)
  const [directory] = reportOf(ended).directories
  expect(directory).toMatchObject({ is: "swept", fileSystem: expect.any(String), removal: "exact" })
  expect(directory?.sockets).toHaveLength(names.length)
  expect(directory?.sockets.every(({ is }) => is === "removed")).toBe(true)
  const odd = directory?.sockets.find(({ pathBase64 }) => pathBase64 !== undefined)
  expect(Buffer.from(odd?.pathBase64 ?? "", "base64").toString("latin1")).toBe(`${dir}/f\xff.s`)
  expect(readdirSync(dir)).toEqual([])
})

test("what is young is left alone, and a time in the future is young", async () => {
  const dir = directoryIn(place.dir, "sockets")
  makeDead(join(dir, "a.sock"))
  expect(reportOf(await sweep(dir, "--json")).totals).toMatchObject({ examined: 1, removed: 0, kept: { young: 1 } })
  // Times of access and change that a user can set are not looked at.
  utimesSync(join(dir, "a.sock"), 0, 0)
  expect(reportOf(await sweep(dir, "--json")).totals).toMatchObject({ kept: { young: 1 } })
  const set = Date.now
  try {
    Date.now = () => set() - 3_600_000
    expect(verdicts(await sweepNow([dir]))[join(dir, "a.sock")]).toBe("kept: young")
  } finally {
    Date.now = set
  }
})

test.each([
  ["flock", (fd: number) => flock(fd, LOCK.EX | LOCK.NB)],
  ["flock, shared", (fd: number) => flock(fd, LOCK.SH | LOCK.NB)],
  ["fcntl", (fd: number) => lockWhole(fd, true)],
])("a socket whose lock is held by %s is left alone until it is let go; the lock file stays", async (_, hold) => {
  const dir = directoryIn(place.dir, "sockets")
  const path = join(dir, "a.sock")
  makeDead(path)
  writeFileSync(`${path}.lock`, "1\n")
  const fd = openAt(-100, `${path}.lock`, 2)
  hold(fd)
  expect(verdicts(await sweepNow([dir]))).toEqual({ [path]: "kept: lock" })
  close(fd)
  expect(verdicts(await sweepNow([dir]))).toEqual({ [path]: "removed" })
  expect(readFileSync(`${path}.lock`, "utf8")).toBe("1\n")
})

test("what stands where a lock would be, and is none, holds nothing up; a symlink there, or a link, does", async () => {
  const dir = directoryIn(place.dir, "sockets")
  for (const name of ["fifo", "dir", "socket", "link", "linked"]) makeDead(join(dir, name))
  Bun.spawnSync(["mkfifo", join(dir, "fifo.lock")])
  mkdirSync(join(dir, "dir.lock"))
  const live = listenUnix(join(dir, "socket.lock"), 1)
  symlinkSync("/nowhere", join(dir, "link.lock"))
  writeFileSync(join(place.dir, "somebody's"), "")
  linkSync(join(place.dir, "somebody's"), join(dir, "linked.lock"))
  const report = await sweepNow([dir])
  close(live)
  expect(verdicts(report)).toEqual({
    [join(dir, "fifo")]: "removed",
    [join(dir, "dir")]: "removed",
    [join(dir, "socket")]: "removed",
    [join(dir, "socket.lock")]: "alive",
    [join(dir, "link")]: "unknown",
    [join(dir, "linked")]: "unknown",
  })
})

test("symlinks: one to a socket is not followed, one as the directory is refused, one on the way must be root's", async () => {
  const dir = directoryIn(place.dir, "sockets")
  const far = directoryIn(place.dir, "far")
  makeDead(join(far, "a.sock"))
  symlinkSync(join(far, "a.sock"), join(dir, "link.sock"))
  symlinkSync(far, join(dir, "below"))
  expect((await sweepNow([dir])).totals.examined).toBe(0)
  const refused = await sweep(join(dir, "below"), ...NOW)
  expect(refused.stderr).toContain("is not swept: it is a symlink")
  expect(refused.exit).toBe(1)
  mkdirSync(join(far, "inner"))
  const theirs = directoryIn(place.dir, "theirs", 0o755)
  chownSync(theirs, OWNER.uid, OWNER.gid)
  symlinkSync(far, join(theirs, "way"))
  expect((await sweep(join(theirs, "way/inner"), ...NOW)).stderr).toContain(`belongs to uid ${OWNER.uid}`)
  expect(readdirSync(far).sort()).toEqual(["a.sock", "inner"])
  // As /var/run is.
  symlinkSync(far, join(place.dir, "way"))
  makeDead(join(far, "inner/b.sock"))
  expect((await sweep(join(place.dir, "way/inner"), ...NOW)).exit).toBe(0)
  expect(readdirSync(join(far, "inner"))).toEqual([])
})

test("directories that are not there, are no directories, or have names too long: told, and the others are swept", async () => {
  const dir = directoryIn(place.dir, "sockets")
  makeDead(join(dir, "a.sock"))
  writeFileSync(join(place.dir, "file"), "")
  const long = join(place.dir, "n".repeat(300))
  const { stderr, exit } = await sweep(join(place.dir, "none"), join(place.dir, "file"), long, dir, ...NOW)
  expect(stderr).toContain("/none is not swept: there is no such directory")
  expect(stderr).toContain("/file is not swept: it is not a directory")
  expect(stderr).toContain("ENAMETOOLONG")
  expect(stderr).toContain("1 removed, 3 errors")
  expect(exit).toBe(1)
  expect(readdirSync(dir)).toEqual([])
})

test("a read-only file system: one warning for all, exit code 1, nothing changed", async () => {
  const dir = directoryIn(place.dir, "sockets")
  for (let count = 0; count < 20; count++) makeDead(join(dir, `${count}.sock`))
  expect(Bun.spawnSync(["mount", "--bind", dir, dir]).exitCode).toBe(0)
  expect(Bun.spawnSync(["mount", "-o", "remount,bind,ro", dir]).exitCode).toBe(0)
  const { stderr, exit } = await sweep(dir, ...NOW)
  Bun.spawnSync(["umount", dir])
  expect(stderr).toContain("is dead and could not be removed: fchownat: EROFS, and 19 more like it")
  expect(exit).toBe(1)
  expect(readdirSync(dir)).toHaveLength(20)
})

test("the directory's owner sweeps it, with a second look; what is not theirs stays", async () => {
  const dir = directoryIn(place.dir, "sockets", 0o1777)
  chmodSync(place.dir, 0o755)
  chownSync(dir, OWNER.uid, OWNER.gid)
  for (const name of ["mine.sock", "roots.sock"]) makeDead(join(dir, name))
  chownSync(join(dir, "mine.sock"), OWNER.uid, OWNER.gid)
  const home = directoryIn(place.dir, "home", 0o700)
  chownSync(home, OWNER.uid, OWNER.gid)
  const program = join(place.dir, "banger")
  await Bun.write(program, Bun.file(join(import.meta.dir, "../../dist/banger")), { mode: 0o755 })
  const through = ["setpriv", "--reuid", String(OWNER.uid), "--regid", String(OWNER.gid), "--clear-groups", "--"]
  const child = Bun.spawnSync([...through, program, "sweep", dir, "--json", ...NOW], {
    env: { BANGER_STATE_DIR: join(home, "state"), BANGER_RUNTIME_DIR: join(home, "run") },
    cwd: place.dir,
  })
  expect(child.stderr.toString()).toContain("1 removed, 1 kept (1 owner)")
  const report = v.parse(sweepReportSchema, JSON.parse(child.stdout.toString()))
  expect(report.directories[0]).toMatchObject({ removal: "re-checked" })
  expect(verdicts(report)).toEqual({ [join(dir, "mine.sock")]: "removed", [join(dir, "roots.sock")]: "kept: owner" })
})

test("a 0700 directory of another uid: root sweeps it, others are told that they cannot", async () => {
  const dir = directoryIn(place.dir, "sockets", 0o700)
  chmodSync(place.dir, 0o755)
  chownSync(dir, OWNER.uid, OWNER.gid)
  makeDead(join(dir, "a.sock"))
  const program = join(place.dir, "banger")
  await Bun.write(program, Bun.file(join(import.meta.dir, "../../dist/banger")), { mode: 0o755 })
  const through = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
  const other = Bun.spawnSync([...through, program, "sweep", dir, "--dry-run"], { env: {}, cwd: place.dir })
  expect(other.stderr.toString()).toContain("is not swept: openat2")
  expect(other.stderr.toString()).toContain("EACCES")
  expect(other.exitCode).toBe(1)
  expect((await sweep(dir, ...NOW)).exit).toBe(0)
  expect(readdirSync(dir)).toEqual([])
})

test("a directory that another sweep is in: 75, or 0 with --quiet; nested ones take turns", async () => {
  const dir = directoryIn(place.dir, "sockets")
  const below = directoryIn(dir, "below")
  for (const path of [join(dir, "a.sock"), join(below, "b.sock")]) makeDead(path)
  // A sweep that waits for its next look holds none.
  const slow = start(place, ["sweep", dir, "--grace", "0s", "--confirm", "2", "--confirm-delay", "1h", "--verbose"])
  const locks = join(place.runtime, "sweep")
  while (!existsSync(locks) || readdirSync(locks).length > 0) await Bun.sleep(5)
  const held = openAt(
    AT_FDCWD,
    join(locks, `${inodeOf(statPath(dir)).replaceAll(":", "-")}.lock`),
    O.RDWR | O.CREAT,
    0o600,
  )
  expect(tryFlock(held)).toBe(true)
  const second = await sweep(dir, ...NOW)
  expect(second.stderr).toContain("is not swept: another sweep is in it")
  expect(second.exit).toBe(75)
  expect(await sweep(dir, ...NOW, "--quiet")).toEqual({ exit: 0, stdout: "", stderr: "" })
  expect((await sweep(below, ...NOW)).exit).toBe(0)
  expect(readdirSync(below)).toEqual([])
  close(held)
  expect((await sweep(dir, ...NOW)).exit).toBe(0)
  slow.signal("SIGTERM")
  await slow.ended
  expect(readdirSync(dir)).toEqual(["below"])
})

test("many sweeps at once of one tree and of what is in it: each dead socket goes once, the live ones stay", async () => {
  const dir = directoryIn(place.dir, "sockets")
  const below = directoryIn(dir, "below")
  const live = [dir, below].map((where) => listenUnix(join(where, "live.sock"), 1))
  for (let count = 0; count < 200; count++) for (const where of [dir, below]) makeDead(join(where, `${count}.sock`))
  const unlocked = Array.from({ length: 4 }, () => sweepNow([dir], { confirm: 2, confirmDelay: 1 }))
  const commands = Array.from({ length: 6 }, (_, index) => sweep(index % 2 === 0 ? dir : below, "--json", ...NOW))
  const [inside, outside] = await Promise.all([Promise.all(unlocked), Promise.all(commands)])
  for (const { exit, stderr } of outside) expect([0, 75], stderr).toContain(exit ?? -1)
  const removed = [...inside, ...outside.map(reportOf)].reduce((sum, { totals }) => sum + totals.removed, 0)
  expect(removed).toBe(400)
  expect((await sweepNow([dir])).totals).toMatchObject({ examined: 2, alive: 2 })
  for (const fd of live) close(fd)
})

test("100,000 sockets with 40 descriptors: all dead ones go", async () => {
  const dir = directoryIn(mountImage(place, "tmpfs", "200M"), "sockets")
  for (let count = 0; count < 100_000; count++) makeDead(`${dir}/${count}`)
  const live = Array.from({ length: 50 }, (_, index) => listenUnix(`${dir}/live${index}`, 1))
  const through = ["prlimit", "--nofile=40", "--"]
  const { stdout, stderr, exit } = await start(
    place,
    ["sweep", dir, "--grace", "0s", "--confirm-delay", "1ms"],
    {},
    {
      through,
    },
  ).ended
  for (const fd of live) close(fd)
  const left = readdirSync(dir)
  Bun.spawnSync(["umount", join(dir, "..")])
  expect({ stdout, stderr: stderr.replace(/^.*100050/s, "100050"), exit }).toMatchObject({ stdout: "", exit: 0 })
  expect(stderr).toContain("100050 sockets in 1 directory: 50 alive, 100000 removed")
  expect(left).toHaveLength(50)
}, 120_000)

test("sockets of live VMs, by the records, are left alone; where the records cannot be read, so is all that is banger's", async () => {
  const { Database } = await import("bun:sqlite")
  const { places, vmLayout } = await import("../../src/store/state/places.ts")
  const { openDatabase } = await import("../../src/store/state/database.ts")
  const { insertRecord } = await import("../../src/store/state/records.ts")
  const where = places({ BANGER_STATE_DIR: place.state, BANGER_RUNTIME_DIR: place.runtime }, 0)
  for (const dir of [place.state, place.runtime]) mkdirSync(dir, { mode: 0o700 })
  const { qmpSocket, runtime } = vmLayout(where, "guest-1")
  const elsewhere = directoryIn(place.dir, "sockets")
  for (const path of [runtime, join(place.runtime, "gone-1")]) mkdirSync(path)
  const dead = [qmpSocket, join(place.runtime, "gone-1/qmp.sock")]
  for (const path of dead) makeDead(path)
  const db = openDatabase(place.state)
  const rest = {
    name: "guest",
    vmm: "qemu",
    boot_id: "x",
    plugin_path: "x",
    plugin_sha256: "x",
    spec: "{}",
    request: "{}",
  }
  insertRecord(db, { id: "guest-1", ...rest })
  db.close()
  expect(verdicts(reportOf(await sweep(place.runtime, "--json", ...NOW)))).toEqual({
    [dead[0] ?? ""]: "kept: vm",
    [dead[1] ?? ""]: "removed",
  })
  // Newer than this banger knows.
  const newer = new Database(join(place.state, "state.db"))
  newer.exec("pragma user_version = 999")
  newer.close()
  makeDead(join(elsewhere, "a.sock"))
  const { stderr, exit } = await sweep(place.runtime, elsewhere, ...NOW)
  expect(stderr).toContain("is left alone: cannot tell: the VM records cannot be read")
  expect(exit).toBe(1)
  expect(existsSync(qmpSocket)).toBe(true)
  expect(readdirSync(elsewhere)).toEqual([])
  for (const name of ["state.db", "state.db-wal", "state.db-shm"]) {
    if (existsSync(join(place.state, name))) (await import("node:fs")).rmSync(join(place.state, name))
  }
  ;(await import("node:fs")).rmSync(place.runtime, { recursive: true })
})

test("a socket that was being removed when a sweep was killed needs no second grace", async () => {
  const dir = directoryIn(place.dir, "sockets")
  makeDead(join(dir, "a.sock"))
  chownSync(join(dir, "a.sock"), SWEEP_UID, 0)
  expect((await sweep(dir)).stderr).toContain("1 removed")
})

test("a successor that took the name is left alone, and a dead one that was moved away gets its owner back", async () => {
  const dir = directoryIn(place.dir, "sockets")
  makeDead(join(dir, "a.sock"))
  chownSync(join(dir, "a.sock"), OWNER.uid, OWNER.gid)
  const live = listenUnix(join(dir, "live.sock"), 1)
  const { interpose } = await import("../../src/base/linux/interpose.ts")
  interpose({
    before(call) {
      // Another process: this one has no right to move anything just now.
      if (call === "unlinkat")
        Bun.spawnSync(["sh", "-c", "mv -n a.sock moved.sock; mv -n live.sock a.sock"], { cwd: dir })
      return 0
    },
  })
  const found = verdicts(await sweepNow([dir]))
  interpose(undefined)
  expect(found).toEqual({ [join(dir, "a.sock")]: "kept: changed", [join(dir, "live.sock")]: "alive" })
  expect(lstatSync(join(dir, "moved.sock")).uid).toBe(OWNER.uid)
  expect(lstatSync(join(dir, "moved.sock")).gid).toBe(OWNER.gid)
  expect(statSync(join(dir, "a.sock")).isSocket()).toBe(true)
  close(live)
})
