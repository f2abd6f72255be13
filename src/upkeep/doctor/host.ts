import { Database } from "bun:sqlite"
import { accessSync, closeSync, constants, openSync, readdirSync, statfsSync, writeSync } from "node:fs"
import { release } from "node:os"
import { dirname } from "node:path"
import { requireTracking } from "../../base/linux/conntrack.ts"
import { O, O_TMPFILE } from "../../base/linux/constants.ts"
import { cloneInto } from "../../base/linux/content.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { statAt, statPath } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { refusedCalls } from "../../base/linux/probe.ts"
import { withRoute } from "../../base/linux/rtnetlink.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { type CgroupUse, tryCgroups } from "../../host/cgroup/usable.ts"
import type { KvmHost } from "../../host/kvm/judge.ts"
import { thisKvmHost } from "../../host/kvm/thisHost.ts"
import { forwardedElsewhere } from "../../host/network/forwarding.ts"
import { ownerOf } from "../../host/network/names.ts"
import { findFaults, findStrangers, type NetworkFault, type StrangePort } from "../../host/network/repair.ts"
import { findDisks, listDisks, type PresentDisk } from "../../store/disks/disks.ts"
import { runSystem, type Said as SystemSaid } from "../../store/files/programs.ts"
import { listLeases } from "../../store/state/leases.ts"
import { type AllPlaces, disksDirectory } from "../../store/state/places.ts"
import { isUpIn } from "../../store/state/records.ts"

/** What a program said. */
export type Said = Pick<SystemSaid, "exit" | "stdout">

/** Room in a file system, in bytes and in files; `type` is its magic number (statfs(2)). */
export interface Room {
  readonly bytes: number
  readonly files: number
  readonly type: number
}

/**
 * All that the checks read of a host, so that a test can give them any host. What does not exist is undefined; what cannot
 * be read throws, and makes the check `unknown`.
 */
export interface Host extends KvmHost {
  /** `uname -r`. */
  readonly release: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly places: AllPlaces
  /** The program that runs, when it is banger's own binary. */
  readonly binary: string | undefined
  list(path: string): readonly string[] | undefined
  /** Follows symlinks; with `own` it does not. */
  stat(path: string, own?: "own"): Stat | undefined
  /** Whether this user can make files in a directory. */
  writable(path: string): boolean
  /** Runs a program that changes nothing. Undefined when there is none of this name. */
  run(argv: readonly string[]): Said | undefined
  room(path: string): Room
  /** Whether files in a directory can share blocks; throws where nothing can be written. */
  clones(path: string): boolean
  refusedCalls(): readonly string[]
  /** Throws where the kernel cannot be told to forget a flow that connection tracking remembers. */
  requireTracking(): void
  /** What others have changed of the networks of VMs that are up. */
  networkFaults(): readonly { readonly vm: string; readonly what: string; readonly restorable: boolean }[]
  /** The ports that others have put on bridges of VMs that are up. */
  strangePorts(): readonly StrangePort[]
  /** Which ports of VMs that are up rules of other programs forward too, in words. */
  forwardedElsewhere(): readonly string[]
  /** Makes a cgroup below a mount of cgroup v2, and removes it. */
  tryCgroups(mount: string): Exclude<CgroupUse, { is: "absent" }>
  /** The persistent disks, and why something in the place of one is none; undefined: they have no directory yet. */
  disks():
    | { readonly disks: readonly Pick<PresentDisk, "sizeBytes" | "usedBytes">[]; readonly strange: readonly string[] }
    | undefined
}

/** This host. */
export function thisHost(places: AllPlaces, binary: string | undefined): Host {
  return {
    ...thisKvmHost(places, "look"),
    release: release(),
    env: process.env,
    places,
    binary,
    list: (path) => orAbsent(() => readdirSync(path)),
    stat: (path, own) => orAbsent(() => (own === undefined ? statPath(path) : statAt(AT_FDCWD, path))),
    writable,
    run,
    room(path) {
      const { bavail, bsize, ffree, type } = statfsSync(path)
      return { bytes: bavail * bsize, files: ffree, type }
    },
    clones,
    refusedCalls,
    requireTracking,
    networkFaults: () => faultsIn(places),
    strangePorts: () => strangersIn(places),
    forwardedElsewhere: () => withDatabase(places, [], forwardedIn),
    tryCgroups,
    disks() {
      using disks = findDisks(disksDirectory(places))
      if (disks === undefined) return undefined
      const { disks: found, strange } = listDisks(disks)
      return { disks: found, strange: strange.map(({ message }) => message) }
    },
  }
}

/** The nearest directory that is there, at or above a path. */
export function nearestDirectory(host: Pick<Host, "stat">, path: string): string {
  return path === "/" || host.stat(path) !== undefined ? path : nearestDirectory(host, dirname(path))
}

// --- internal ---

function faultsIn(places: AllPlaces): readonly NetworkFault[] {
  return withDatabase(places, [], (db) =>
    withRoute((route) => findFaults(route, { owner: ownerOf(places.state), leases: listLeases(db), isUp: isUpIn(db) })),
  )
}

function strangersIn(places: AllPlaces): readonly StrangePort[] {
  return withDatabase(places, [], (db) => {
    const [leases, isUp] = [listLeases(db), isUpIn(db)]
    const bridges = new Set(leases.filter(({ vm }) => isUp(vm)).map(({ bridge }) => bridge))
    return withRoute((route) => findStrangers(route, bridges, { owner: ownerOf(places.state), leases }))
  })
}

function forwardedIn(db: Database): readonly string[] {
  const isUp = isUpIn(db)
  return forwardedElsewhere(listLeases(db).flatMap(({ vm, ports }) => (isUp(vm) ? ports : [])))
}

/** `none` where there is no database, or this user may not see networks. */
function withDatabase<T>(places: AllPlaces, none: T, use: (db: Database) => T): T {
  if (process.geteuid?.() !== 0 || orAbsent(() => statPath(`${places.state}/state.db`)) === undefined) return none
  using db = new Database(`${places.state}/state.db`, { readonly: true })
  return use(db)
}

/** Such a program has this long, in milliseconds. */
const PROGRAM_WAIT_MS = 10_000

function orAbsent<T>(read: () => T): T | undefined {
  return unlessAbsent(read, ["ENOENT", "ENOTDIR"])
}

function writable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK)
    return true
  } catch (error) {
    if (["EACCES", "EROFS", "EPERM"].includes(errorCode(error) ?? "")) return false
    throw error
  }
}

function run(argv: readonly string[]): Said | undefined {
  return runSystem(argv, "", PROGRAM_WAIT_MS)
}

function clones(directory: string): boolean {
  const [from, to] = [openSync(directory, O_TMPFILE | O.RDWR, 0o600), openSync(directory, O_TMPFILE | O.RDWR, 0o600)]
  try {
    writeSync(from, new Uint8Array(65536))
    cloneInto(from, to)
    return true
  } catch (error) {
    if (["EOPNOTSUPP", "EINVAL", "ENOTTY", "EXDEV"].includes(errorCode(error) ?? "")) return false
    throw error
  } finally {
    closeSync(from)
    closeSync(to)
  }
}
