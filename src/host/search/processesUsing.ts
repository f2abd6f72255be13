import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { O, O_DIRECTORY } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { close, inodeOf, openAt, statPath } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { mayBeOurs } from "./holders.ts"
import { requireSight } from "./witnesses.ts"

/** Something that may be in use, and how to recognise its users. Paths are absolute, without symlinks. */
export interface UsageQuery {
  readonly id: string
  /** Directories. A process with something in one of them open, or with its working directory there, is a user. */
  readonly dirs: readonly string[]
  /** Root directories and network namespaces as `device:inode`. A process in one of them is a user. */
  readonly inodes: readonly string[]
  /** A process that runs as one of these uids is a user. */
  readonly uids: readonly number[]
}

/**
 * By id, in words, a process or loop device that uses it; an id without one is not in the answer. Looks twice: a single
 * look may miss a process whose parent ends during it. Throws LIVENESS_UNKNOWN when it cannot be told of a process.
 */
export function processesUsing(all: readonly UsageQuery[]): ReadonlyMap<string, string> {
  if (all.length === 0) return new Map()
  const marks = marksOf(all)
  // Only root needs to see the processes of others: they cannot use what only this user can enter.
  requireSight(process.geteuid?.() === 0 ? ANOTHER_UID : undefined)
  const found = new Map<string, string>()
  for (let look = 0; look < LOOK_COUNT; look++) {
    for (const name of readdirSync("/proc")) {
      if (!/^[1-9]\d*$/.test(name) || Number(name) === process.pid) continue
      for (const [id, how] of usesOf(Number(name), marks)) if (!found.has(id)) found.set(id, `process ${name} ${how}`)
    }
  }
  for (const [id, how] of loopDevices(marks)) if (!found.has(id)) found.set(id, how)
  return found
}

// --- internal ---

/** The id whose directory this path is, or is in. A deleted file counts where it was. Pure. */
function vmAt(path: string, ids: ReadonlyMap<string, string>): string | undefined {
  for (let at = path; at.length > 1; at = at.slice(0, at.lastIndexOf("/"))) {
    const id = ids.get(at)
    if (id !== undefined) return id
    if (!at.includes("/")) return undefined
  }
  return undefined
}

const LOOK_COUNT = 2

/** Any uid that is not root's. */
const ANOTHER_UID = 1

interface Marks {
  readonly dirs: ReadonlyMap<string, string>
  readonly inodes: ReadonlyMap<string, string>
  readonly uids: ReadonlyMap<number, string>
}

type Use = readonly [id: string, how: string]

function marksOf(all: readonly UsageQuery[]): Marks {
  return {
    dirs: new Map(all.flatMap(({ id, dirs }) => dirs.map((dir) => [dir, id] as const))),
    inodes: new Map(all.flatMap(({ id, inodes }) => inodes.map((inode) => [inode, id] as const))),
    uids: new Map(all.flatMap(({ id, uids }) => uids.map((uid) => [uid, id] as const))),
  }
}

function usesOf(pid: number, marks: Marks): readonly Use[] {
  const uses: Use[] = []
  const add = (id: string | undefined, how: string) => {
    if (id !== undefined) uses.push([id, how])
  }
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1")
    if (hasEnded(status)) return []
    const ownUids = uidsOf(status)
    for (const uid of ownUids) add(marks.uids.get(uid), `runs as its uid ${uid}`)
    add(marks.inodes.get(inodeOf(statPath(`/proc/${pid}/root`))), "has its root directory")
    if (marks.inodes.size > 0)
      add(marks.inodes.get(inodeOf(statPath(`/proc/${pid}/ns/net`))), "is in its network namespace")
    for (const link of ["root", "cwd", "exe", ...descriptorsOf(pid)]) {
      const path = target(`/proc/${pid}/${link}`, ownUids.includes(0))
      if (path !== undefined) add(vmAt(path, marks.dirs), `has ${path} open`)
    }
  } catch (error) {
    const code = errorCode(error)
    if (code === "ENOENT" || code === "ESRCH") return uses
    if ((code === "EACCES" || code === "EPERM") && !mayBeOurs(pid)) return uses
    throw new Failure("LIVENESS_UNKNOWN", `cannot tell what process ${pid} uses: ${messageOf(error)}`, {
      subject: `${pid}`,
      cause: error,
    })
  }
  return uses
}

/** Whether a process and all its threads have ended, though its parent has not waited for it, by /proc/PID/status. */
function hasEnded(status: string): boolean {
  return /^State:\t[ZX]/m.test(status) && /^Threads:\t[01]$/m.test(status)
}

/** The real, effective, saved and file system uid. */
function uidsOf(status: string): readonly number[] {
  const [, list = ""] = /^Uid:\t(.*)$/m.exec(status) ?? []
  return [...new Set(list.split("\t").map(Number))]
}

function descriptorsOf(pid: number): readonly string[] {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => `fd/${fd}`)
}

/**
 * Undefined when there is none: a kernel thread has none, and a descriptor may be closed by now. A path may be too long for the
 * kernel to tell (PATH_MAX). Only root's own counts then: what others have so deep in a VM's directory is theirs to lose, and any
 * of them could keep all sweeps from their work.
 */
function target(link: string, isRoots: boolean): string | undefined {
  try {
    return unlessAbsent(() => readlinkSync(link), ["ENOENT", "ESRCH"])
  } catch (error) {
    if (errorCode(error) !== "ENAMETOOLONG") throw error
    return isRoots ? nearestNamed(link, error) : undefined
  }
}

/** Where too long a path of a directory leads through: the nearest directory above it whose path can be told. Throws `tooLong` for a file. */
function nearestNamed(link: string, tooLong: unknown): string {
  let at = unlessAbsent(() => openAt(AT_FDCWD, link, O.PATH | O_DIRECTORY), ["ENOTDIR"])
  try {
    for (let level = 0; at !== undefined && level < LEVELS_MAX_COUNT; level++) {
      const above = openAt(at, "..", O.PATH | O_DIRECTORY)
      close(at)
      at = above
      const path = withinLimit(() => readlinkSync(`/proc/self/fd/${above}`))
      if (path !== undefined) return path
    }
    throw tooLong
  } finally {
    if (at !== undefined) close(at)
  }
}

/** A directory deeper than that is not looked for. */
const LEVELS_MAX_COUNT = 20_000

function withinLimit(read: () => string): string | undefined {
  return unlessAbsent(read, ["ENAMETOOLONG"])
}

/** A loop device holds its file without a process. */
function loopDevices({ dirs }: Marks): readonly Use[] {
  return blockDevices()
    .filter((name) => name.startsWith("loop"))
    .flatMap((name) => {
      const id = vmAt(backingFile(name), dirs)
      return id === undefined ? [] : [[id, `/dev/${name} has ${backingFile(name)} open`] as const]
    })
}

function blockDevices(): readonly string[] {
  return unlessAbsent(() => readdirSync("/sys/block")) ?? []
}

/** Empty when the device has none. */
function backingFile(device: string): string {
  const read = () => readFileSync(`/sys/block/${device}/loop/backing_file`, "utf8").trimEnd()
  return unlessAbsent(read, ["ENOENT", "ENXIO", "ENODEV", "EINVAL"]) ?? ""
}
