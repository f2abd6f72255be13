import { Database } from "bun:sqlite"
import { afterEach, beforeEach, expect } from "bun:test"
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { cgroupMount } from "../../../src/host/cgroup/cgroup.ts"
import { requireOwnNamespaces } from "./namespace.ts"

/** State and runtime directories of one test, and the banger that is tried there. */
export interface Place {
  readonly dir: string
  readonly state: string
  readonly runtime: string
  /** The command line that banger's own words follow. */
  readonly program: readonly string[]
  /** Environment variables that every banger of this place gets. */
  readonly env: Readonly<Record<string, string>>
  /** Fields of every VM on the doubles. */
  readonly spec: object
  /** Asserts that the host is as it was when the test began. */
  readonly expectHostUnchanged: () => void
}

/** What a tier of tests gives its places. */
export interface Tier extends Pick<Place, "program"> {
  /** What the name of each place's directory begins with, its path included. */
  readonly prefix: string
  readonly env?: Readonly<Record<string, string>>
  readonly spec?: object
  /** Looks at the host before a test; what it returns asserts after the test that nothing of the place is left there. */
  readonly look: () => (place: Place) => void
}

/** Gives each test of a file a fresh place, and asserts after each that its VMs left nothing in it or on the host. */
export function eachInItsPlace(): Place {
  return eachOfTier({
    program: [join(import.meta.dir, "../../../dist/banger")],
    prefix: "/run/banger-test-",
    look() {
      requireOwnNamespaces()
      return lookAtHost()
    },
  })
}

/** Looks at mounts and links; what it returns asserts that they are the same. */
export function lookAtHost(): () => void {
  const before = traces()
  return () => expect(traces()).toEqual(before)
}

/** Gives each test of a file a fresh place of a tier, and asserts after each that its VMs left nothing. */
export function eachOfTier({ program, prefix, env = {}, spec = {}, look }: Tier): Place {
  const place = { dir: "", state: "", runtime: "", program, env, spec, expectHostUnchanged: () => {} }
  beforeEach(() => {
    const expectUnchanged = look()
    const dir = mkdtempSync(prefix)
    const expectHostUnchanged = () => expectUnchanged(place)
    Object.assign(place, { dir, state: join(dir, "state"), runtime: join(dir, "run"), expectHostUnchanged })
  })
  afterEach(async () => {
    // A supervisor without a terminal says its last words when its VM's record is final already.
    for (let tries = 0; tries < 100 && supervisorsOf(place).length > 0; tries++) await Bun.sleep(20)
    try {
      expect(supervisorsOf(place)).toEqual([])
      expectNothingLeft(place)
    } finally {
      clearPlace(place)
    }
  })
  return place
}

/** The VMs on record, newest first. */
export function records(place: Place): readonly { id: string; name: string; state: string; handles: string }[] {
  const rows = rowsOf(place, "vms", "select id, name, state, handles from vms order by created_at desc, rowid desc")
  return rows as { id: string; name: string; state: string; handles: string }[]
}

/** Asserts that a test's VMs left nothing: no process, file, socket, mount or link, and only final records. */
export function expectNothingLeft(place: Place): void {
  expect(processesOf(place)).toEqual([])
  // Where the locks of sweeps are, which go with them, and those of root's helpers.
  const runtime = existsSync(place.runtime) ? readdirSync(place.runtime) : []
  expect(runtime.filter((name) => !["sweep", ".helpers"].includes(name))).toEqual([])
  const files = existsSync(place.state) ? readdirSync(place.state, { recursive: true, encoding: "utf8" }) : []
  expect(files.filter((path) => /\.tmp$|\/stage$/.test(path))).toEqual([])
  for (const { state, handles } of records(place)) {
    expect(["stopped", "failed"]).toContain(state)
    expect(handles).toBe("[]")
  }
  expect(rowsOf(place, "uids", "select * from uids")).toEqual([])
  expect(rowsOf(place, "leases", "select * from leases")).toEqual([])
  expect(rowsOf(place, "bridge_leases", "select * from bridge_leases")).toEqual([])
  expect(rowsOf(place, "disk_claims", "select * from disk_claims")).toEqual([])
  for (const disk of disksOf(place)) {
    const { uid, mode, nlink } = statSync(disk)
    expect({ disk, uid, mode: mode & 0o7777, nlink }).toEqual({
      disk,
      uid: process.geteuid?.() ?? 0,
      mode: 0o600,
      nlink: 1,
    })
  }
  expect(jailsOf(place)).toEqual([])
  expect(cgroupsOf(place)).toEqual([])
  place.expectHostUnchanged()
}

/** Takes a place away, and any VM that a failed test left in it. */
function clearPlace(place: Place): void {
  for (const pid of [...supervisorsOf(place), ...processesOf(place)]) process.kill(pid, "SIGKILL")
  // Removing by path goes through bind mounts, to what they bind.
  while (mountedIn(place).length > 0) Bun.spawnSync(["umount", "--lazy", ...mountedIn(place).toReversed()])
  rmSync(place.dir, { recursive: true, force: true })
}

/** The processes whose standard output is a console of this place: its VMMs. */
export function processesOf(place: Place): readonly number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name))
  return pids.filter((pid) => isConsole(place, outputOf(pid))).map(Number)
}

/** Where in a place something is mounted. */
export function mountedIn(place: Place): readonly string[] {
  const points = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
  return points.filter((point) => point.startsWith(`${place.dir}/`))
}

/** The supervisors of this place that have no terminal, and are still there. */
export function supervisorsOf(place: Place): readonly number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name))
  return pids
    .filter((pid) => outputOf(pid).startsWith(`${place.state}/`) && !isConsole(place, outputOf(pid)))
    .map(Number)
}

// --- internal ---

function isConsole(place: Place, path: string): boolean {
  return path.startsWith(`${place.state}/`) && /\/console\.log(?: \(deleted\))?$/.test(path)
}

function rowsOf(place: Place, table: string, select: string): readonly unknown[] {
  const path = join(place.state, "state.db")
  if (!existsSync(path)) return []
  // One that a killed banger left half made must be taken back before it can be read.
  const db = new Database(path, { readwrite: true, create: false })
  db.run("pragma busy_timeout = 5000")
  // A banger killed while it made the database leaves one without tables.
  const made = db.query("select 1 from sqlite_master where name = ?").get(table) !== null
  const rows = made ? db.query(select).all() : []
  db.close()
  return rows
}

/** What is in the directories of jails besides the directories that stay. */
function jailsOf(place: Place): readonly string[] {
  const jails = join(place.state, "jail")
  const found = existsSync(jails) ? readdirSync(jails, { recursive: true, encoding: "utf8" }) : []
  return found.filter((path) => ![".grave", "qemu", "firecracker"].includes(path))
}

/** The persistent disks of this place, and whatever else is there. */
function disksOf(place: Place): readonly string[] {
  const disks = join(place.state, "disks")
  return existsSync(disks) ? readdirSync(disks).map((name) => join(disks, name)) : []
}

/** The cgroups of VMs of this place. */
function cgroupsOf(place: Place): readonly string[] {
  const mount = cgroupMount()
  if (mount === undefined || !existsSync(join(mount, "banger"))) return []
  const ids = new Set(records(place).map(({ id }) => id))
  return readdirSync(join(mount, "banger")).filter((name) => ids.has(name))
}

function outputOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/1`)
  } catch {
    // It ended between the listing and the look.
    return ""
  }
}

/** Of this network namespace: /sys shows those of the one it was mounted in. */
function linksHere(): readonly string[] {
  const lines = readFileSync("/proc/self/net/dev", "utf8").split("\n").slice(2)
  return lines
    .map((line) => line.split(":")[0]?.trim() ?? "")
    .filter((name) => name !== "")
    .sort()
}

function traces(): { readonly mounts: string; readonly links: readonly string[] } {
  return { mounts: readFileSync("/proc/self/mountinfo", "utf8"), links: linksHere() }
}
