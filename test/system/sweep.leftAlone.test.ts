import { afterEach, beforeEach, expect, test } from "bun:test"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { hostPath } from "../../src/base/terms/path.ts"
import { cgroupMount, cgroupPath, makeCgroup } from "../../src/host/cgroup/cgroup.ts"
import { markOf, RUNTIME_MARK } from "../../src/store/state/mark.ts"
import { vmLayout } from "../../src/store/state/places.ts"
import { banger, until } from "./support/banger.ts"
import { directoriesOfFile } from "./support/directories.ts"
import { buildDoubles, type Doubles } from "./support/doubles.ts"
import { LEAVE, type Living, later, living, ownCgroups, prepareState, uidOf } from "./support/leftovers.ts"
import { eachInItsPlace, processesOf } from "./support/place.ts"
import { listed, runDouble, signal, sql } from "./support/vms.ts"
import { must } from "./support/wire.ts"

const newDirectory = directoriesOfFile()
ownCgroups()
const place = eachInItsPlace()
let doubles: Doubles
let alive: Living
beforeEach(() => {
  doubles ??= buildDoubles(newDirectory())
  prepareState(place)
  alive = living()
})
afterEach(() => alive.end())

const ID = "left-alone001"

interface Found {
  readonly kind: string
  readonly is: string
  readonly why: string
}

async function swept(args: readonly string[] = [], run = later): Promise<readonly Found[]> {
  const { stdout, stderr } = await run(place, ["sweep", "--json", ...args])
  expect(stderr).not.toContain("rror:")
  return JSON.parse(stdout).leftovers
}

/** Sweeps, expects that what is there is kept for a reason, and that it goes once nothing lives any more. */
async function expectSpoken(path: string, words: RegExp): Promise<void> {
  const found = await swept()
  expect(found.map(({ is }) => is)).toEqual(found.map(() => "alive"))
  expect(found[0]?.why).toMatch(words)
  expect(existsSync(path)).toBe(true)
  await alive.end()
  expect((await swept()).every(({ is }) => is === "removed")).toBe(true)
  expect(existsSync(path)).toBe(false)
}

const leave = (kind: string) => LEAVE[kind]?.(place, ID, 1) ?? { kind, name: "" }

test("a jail is kept for a process of its uid, or a file of it open", async () => {
  const ofUid = leave("jail")
  alive.process({ uid: uidOf(1) })
  await expectSpoken(ofUid.name, /^process \d+ runs as its uid/)

  const opened = leave("stage")
  alive.process({ stdin: join(opened.name, "root/kernel") })
  await expectSpoken(opened.name, /^process \d+ has .*root\/kernel open/)
})

/** Starts a process, as this uid, in a directory whose path is too long for the kernel to tell, beneath `top`. */
async function inTooDeep(top: string, uid: number): Promise<void> {
  const name = "d".repeat(250)
  // By perl, which is in every Debian: a shell, and Bun, have the whole path in mind.
  const script = `$| = 1; for (1..20) { mkdir "${name}"; chdir "${name}" or die } print "there\\n"; sleep 300`
  const argv = ["setpriv", `--reuid=${uid}`, "--clear-groups", "perl", "-e", script]
  const child = Bun.spawn(argv, { cwd: top, stdout: "pipe", stderr: "inherit" })
  alive.keep(() => child.kill("SIGKILL"))
  const said = await child.stdout.getReader().read()
  expect(new TextDecoder().decode(said.value)).toBe("there\n")
  expect(() => readlinkSync(`/proc/${child.pid}/cwd`)).toThrow("ENAMETOOLONG")
}

test("where a process is in too deep for its place to be told, a jail is kept for root's in it, and for no other's", async () => {
  const elsewhere = newDirectory()
  chmodSync(elsewhere, 0o777)
  await inTooDeep(elsewhere, 4242)
  await inTooDeep(elsewhere, 0)
  const free = leave("jail")
  expect((await swept()).map(({ is }) => is)).toEqual(["removed"])
  expect(existsSync(free.name)).toBe(false)

  const { name } = leave("jail")
  await inTooDeep(join(name, "root"), 0)
  await expectSpoken(name, /^process \d+ has .*root\/d+.* open/)
})

test("a loop device on a file of a jail keeps it", async () => {
  const { name } = leave("jail")
  writeFileSync(join(name, "root/image"), new Uint8Array(1024 * 1024))
  // No process has it open: the kernel has.
  const device = must("losetup", "--find", "--show", join(name, "root/image")).trim()
  alive.keep(() => must("losetup", "--detach", device))
  await expectSpoken(name, /loop\d+ has .*root\/image open/)
})

test("what others use is not ours to judge: another state directory's, another container's, and what bears no mark", async () => {
  const mount = cgroupMount() ?? ""
  const { runtime } = vmLayout(place, ID)
  const other = markOf({ jails: hostPath(join(place.dir, "jail")) })
  const same = markOf(vmLayout(place, ID)).replace(/:(\d+) /, ":1$1 ")
  for (const [mark, why] of [
    [other, /belongs to the banger whose state is in/],
    [same, /another container/],
    ["what is this", /no owner's mark/],
  ] as const) {
    mkdirSync(runtime)
    symlinkSync(mark, join(runtime, RUNTIME_MARK))
    makeCgroup(mount, ID, { settings: [], mark })
    const found = await swept()
    const runtimes = found.filter(({ kind }) => kind === "runtime")
    expect(runtimes.map(({ is }) => is)).toEqual(["kept"])
    expect(runtimes[0]?.why).toMatch(why)
    const cgroups = found.filter(({ kind }) => kind === "cgroup")
    // An empty one that says nothing is no starting VM's after a minute.
    expect(cgroups.map(({ is }) => is)).toEqual([mark === "what is this" ? "removed" : "kept"])
    expect(readlinkSync(join(runtime, RUNTIME_MARK))).toBe(mark)
    rmSync(runtime, { recursive: true })
    if (existsSync(cgroupPath(mount, ID))) rmdirSync(cgroupPath(mount, ID))
  }
})

test("what was made just now stays for the grace period, and without a mark for a minute at least", async () => {
  const left = ["jail", "runtime", "vm"].map((kind) => LEAVE[kind]?.(place, ID, 1).name ?? "")
  const log = leave("log").name
  const temporary = leave("temporary").name
  const young = vmLayout(place, "young-00000001").runtime
  mkdirSync(young)
  makeCgroup(cgroupMount() ?? "", "young-00000001", { settings: [] })
  expect((await swept([], banger)).map(({ is }) => is).every((is) => is === "kept")).toBe(true)
  for (const path of [...left, log, temporary, young]) expect(existsSync(path), path).toBe(true)
  const found = await swept(["--grace", "0s"], banger)
  expect(found.filter(({ is }) => is === "removed").map(({ kind }) => kind)).toEqual(["jail", "runtime", "vm"])
  for (const path of left) expect(existsSync(path), path).toBe(false)
  for (const path of [log, temporary, young]) expect(existsSync(path), path).toBe(true)
  expect((await swept()).map(({ is }) => is)).toEqual(["removed", "removed", "removed", "removed"])
})

test("names that are none of banger's, symlinks, and odd files in its directories are left alone", async () => {
  const odd = [
    join(place.state, "vms/lost+found"),
    join(place.runtime, "my-service"),
    join(place.state, "jail/firecracker/UPPER"),
  ]
  for (const dir of odd) mkdirSync(dir, { recursive: true })
  const elsewhere = join(place.dir, "elsewhere")
  mkdirSync(elsewhere)
  symlinkSync(elsewhere, join(place.state, "vms", ID))
  symlinkSync(elsewhere, join(place.state, "vms", ".detached-00000000-0000-0000-0000-000000000000.log"))
  mkdirSync(join(place.state, ".x.4194305.tmp"))
  writeFileSync(join(place.runtime, "sweep/notes.lock"), "")
  const found = await swept()
  expect(found.filter(({ is }) => is !== "kept")).toEqual([])
  for (const path of [...odd, elsewhere]) expect(existsSync(path)).toBe(true)
  for (const path of [odd[1] ?? "", join(place.state, ".x.4194305.tmp")]) rmdirSync(path)
  rmdirSync(odd[2] ?? "")
})

test("a VM that runs and has lost its record is left alone, with all that is its; then all of it goes", async () => {
  expect((await runDouble(place, doubles, ["--supervise=none"])).exit).toBe(0)
  const [vm] = await listed(place)
  sql(place, "delete from vms")
  const { stdout, stderr, exit } = await later(place, ["sweep"])
  expect(stderr).toContain("has no record and is left alone")
  expect({ stdout, exit }).toEqual({ stdout: "", exit: 0 })
  const found = await swept()
  expect(found.filter(({ is }) => is !== "alive")).toEqual([])
  expect(new Set(found.map(({ kind }) => kind))).toEqual(new Set(["cgroup", "jail", "runtime", "uid", "vm"]))
  signal(vm?.pid, "SIGKILL")
  await until(() => processesOf(place).length === 0)
  expect((await swept()).filter(({ is }) => is !== "removed")).toEqual([])
})

/** A VM that is killed is finished by whoever comes first: `rm` may be told that a sweep is at it. */
async function removeAmongOthers(name: string): Promise<void> {
  for (;;) {
    const { exit, stderr } = await banger(place, ["rm", "-f", name])
    if (exit === 0) return
    expect(stderr).toMatch(/is in the hands of another banger|has not ended: it is|was there/)
  }
}

test("runs that start while sweeps without grace go on are not hurt", async () => {
  let over = false
  const sweeping = Promise.all(
    [0, 1].map(async () => {
      let rounds = 0
      for (; !over; rounds++) {
        const { exit, stderr } = await banger(place, ["sweep", "--grace", "0s", "--confirm", "1", "--quiet"])
        expect({ exit, stderr }).toEqual({ exit: 0, stderr: "" })
      }
      return rounds
    }),
  )
  for (let round = 0; round < 10; round++) {
    const runs = [0, 1, 2].map((n) =>
      runDouble(place, doubles, n === 1 ? ["--detach"] : ["--supervise=none"], "PRINT[up]", { name: `r${round}-${n}` }),
    )
    for (const { exit, stderr } of await Promise.all(runs)) expect({ exit, stderr }).toMatchObject({ exit: 0 })
    for (const name of [0, 1, 2].map((n) => `r${round}-${n}`)) await removeAmongOthers(name)
  }
  over = true
  for (const rounds of await sweeping) expect(rounds).toBeGreaterThan(5)
}, 120_000)

test("records that cannot be read stop what is about VMs, with words; directories are swept all the same", async () => {
  const { name } = leave("jail")
  const dir = join(place.dir, "services")
  mkdirSync(dir)
  const database = join(place.state, "state.db")
  for (const path of [`${database}-wal`, `${database}-shm`]) if (existsSync(path)) unlinkSync(path)
  writeFileSync(database, "no database at all, and long enough to be read as one".repeat(100))
  const all = await later(place, ["sweep"])
  expect(all.exit).toBe(1)
  expect(all.stderr).toContain("without banger's records nothing can be told of VMs; nothing was swept")
  expect(all.stderr).toContain("banger sweep DIR")
  expect(existsSync(name)).toBe(true)
  expect(await later(place, ["sweep", dir])).toMatchObject({ exit: 0, stderr: "" })
  unlinkSync(database)
  // Without any record nothing is known of anybody.
  expect(await swept()).toEqual([])
  prepareState(place)
  expect((await swept()).map(({ is }) => is)).toEqual(["removed"])
})

test("the console of a VM without a supervisor is kept below its limit", async () => {
  const fields = { console: { limit: "64K" } }
  expect((await runDouble(place, doubles, ["--supervise=none"], "PRINT[up]", fields)).exit).toBe(0)
  const [vm] = await listed(place)
  const { consoleLog } = vmLayout(place, vm?.id ?? "")
  writeFileSync(consoleLog, "x".repeat(300_000), { flag: "a" })
  const { stdout } = await banger(place, ["sweep", "--json"])
  expect(JSON.parse(stdout).vms[0].trimmedBytes).toBeGreaterThan(200_000)
  expect(Number(must("stat", "--format=%b", consoleLog)) * 512).toBeLessThanOrEqual(64 * 1024)
  const again = await banger(place, ["sweep", "--json"])
  expect(JSON.parse(again.stdout).vms[0].trimmedBytes).toBeUndefined()
  expect((await banger(place, ["rm", "-f", vm?.id ?? ""])).exit).toBe(0)
})
