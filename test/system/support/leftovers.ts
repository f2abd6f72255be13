import { afterAll, beforeAll } from "bun:test"
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { LOCK } from "../../../src/base/linux/constants.ts"
import { flock, mkfifoAt } from "../../../src/base/linux/files.ts"
import { AT_FDCWD } from "../../../src/base/linux/guards.ts"
import { hostPath } from "../../../src/base/terms/path.ts"
import { cgroupMount, cgroupPath, joinCgroup, makeCgroup } from "../../../src/host/cgroup/cgroup.ts"
import { jailRoot } from "../../../src/host/jail/base.ts"
import { makeJail } from "../../../src/host/jail/makeJail.ts"
import { openDatabase } from "../../../src/store/state/database.ts"
import { markOf, RUNTIME_MARK } from "../../../src/store/state/mark.ts"
import { vmLayout } from "../../../src/store/state/places.ts"
import { UID_RANGE } from "../../../src/store/state/uids.ts"
import { type Ended, start } from "./banger.ts"
import { requireOwnNamespaces } from "./namespace.ts"
import type { Place } from "./place.ts"
import { must } from "./wire.ts"

/** Something that no record speaks for, as a banger would have left it. */
export interface Left {
  readonly kind: string
  /** As a sweep's report names it. */
  readonly name: string
}

/** What keeps things from being taken for dead; all of it ends with `end`. */
export interface Living {
  /** A process of its own: in a cgroup, of a uid, in a directory, with a file as its standard input. */
  process(use: { cgroup?: string; uid?: number; cwd?: string; stdin?: string }): void
  /** Holds a file's lock. */
  lock(path: string): void
  /** Something else, and how it ends. */
  keep(end: () => void): void
  end(): Promise<void>
}

/** Has the directories and the database of a place made, as any banger makes them first. */
export function prepareState({ state, runtime }: Place): void {
  mkdirSync(state, { recursive: true, mode: 0o711 })
  mkdirSync(join(state, "vms"), { recursive: true, mode: 0o700 })
  mkdirSync(join(runtime, "sweep"), { recursive: true, mode: 0o700 })
  openDatabase(state).close()
}

/** Gives the tests of a file a hierarchy of cgroups of their own: what is in the host's may be anybody's. */
export function ownCgroups(): void {
  const mount = cgroupMount() ?? ""
  let own = ""
  beforeAll(() => {
    requireOwnNamespaces()
    own = mkdtempSync(join(mount, "banger-test-"))
    must("mount", "--bind", own, mount)
  })
  afterAll(() => {
    must("umount", mount)
    for (const dir of [...readdirSync(join(own, "banger"), { withFileTypes: true })])
      if (dir.isDirectory()) rmdirSync(join(own, "banger", dir.name))
    rmdirSync(join(own, "banger"))
    rmdirSync(own)
  })
}

/** Leaves one thing of a kind, of the VM `id`. */
export const LEAVE: Readonly<Record<string, (place: Place, id: string, index: number) => Left>> = {
  jail: (place, id, index) => leaveJail(place, id, index, true),
  stage: (place, id, index) => leaveJail(place, id, index, false),
  trash(place, id) {
    const path = join(place.state, "jail/.trash", `${id}.77.0`)
    mkdirSync(join(path, "root/dev"), { recursive: true })
    writeFileSync(join(path, "root/kernel"), "k")
    return { kind: "jail", name: path }
  },
  cgroup(place, id) {
    const mount = cgroupMount() ?? ""
    makeCgroup(mount, id, { settings: [], mark: markOf(vmLayout(place, id)) })
    return { kind: "cgroup", name: cgroupPath(mount, id) }
  },
  runtime(place, id) {
    const { runtime, consoleInput } = vmLayout(place, id)
    mkdirSync(runtime, { mode: 0o1700 })
    symlinkSync(markOf(vmLayout(place, id)), join(runtime, RUNTIME_MARK))
    mkfifoAt(AT_FDCWD, consoleInput, 0o600)
    writeFileSync(join(runtime, "file"), "")
    return { kind: "runtime", name: runtime }
  },
  vm(place, id) {
    const { dir, lock, consoleLog, stage } = vmLayout(place, id)
    mkdirSync(stage, { recursive: true })
    for (const file of [lock, consoleLog, join(stage, "disk")]) writeFileSync(file, "x")
    return { kind: "vm", name: dir }
  },
  uid(place, id, index) {
    const db = openDatabase(place.state)
    db.query("insert into uids (uid, vm) values (?, ?)").run(uidOf(index), id)
    db.close()
    return { kind: "uid", name: String(uidOf(index)) }
  },
  log(place) {
    const path = join(place.state, "vms", `.detached-${crypto.randomUUID()}.log`)
    writeFileSync(path, "words")
    return { kind: "log", name: path }
  },
  temporary(place, _id, index) {
    const path = join(place.state, `.state${index}.json.4194305.tmp`)
    writeFileSync(path, "half")
    return { kind: "temporary", name: path }
  },
  lock(place, _id, index) {
    const path = join(place.runtime, "sweep", `0-99-${index}.lock`)
    writeFileSync(path, "")
    return { kind: "lock", name: path }
  },
}

/** Of this run alone: others on this machine may be at it too. */
const FIRST_UID = UID_RANGE.first + Math.floor(Math.random() * 60_000)

/** The uid of the jail or the row with this number. */
export function uidOf(index: number): number {
  return FIRST_UID + index
}

/** Starts with nothing that lives. */
export function living(): Living {
  const children: Bun.Subprocess[] = []
  const closers: (() => void)[] = []
  return {
    process({ cgroup, uid, cwd, stdin }) {
      const fd = stdin === undefined ? undefined : openSync(stdin, "r")
      const as = uid === undefined ? [] : ["setpriv", `--reuid=${uid}`, "--clear-groups"]
      const options = { stdin: fd ?? ("ignore" as const), stdout: "ignore", stderr: "ignore" } as const
      const child = Bun.spawn([...as, "sleep", "600"], { ...options, ...(cwd !== undefined && { cwd }) })
      if (fd !== undefined) closeSync(fd)
      if (cgroup !== undefined) joinCgroup(cgroup, child.pid)
      children.push(child)
    },
    lock(path) {
      const fd = openSync(path, "r")
      flock(fd, LOCK.EX | LOCK.NB)
      closers.push(() => closeSync(fd))
    },
    keep: (end) => void closers.push(end),
    async end() {
      for (const child of children) child.kill("SIGKILL")
      await Promise.all(children.map(({ exited }) => exited))
      for (const close of closers.splice(0)) close()
    },
  }
}

/** Runs banger from source, its clock ahead by two hours: nothing is young. */
export function later(place: Place, args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const driver = join(import.meta.dir, "../../fixtures/sweepLater.ts")
  const manner = { through: [process.execPath, driver], self: false } as const
  return start(place, args, { BANGER_TEST_LATER: String(2 * 3_600_000), ...env }, manner).ended
}

// --- internal ---

function leaveJail(place: Place, id: string, index: number, placed: boolean): Left {
  const site = { base: hostPath(join(place.state, "jail")), vmm: "firecracker", id }
  const jail = makeJail(site, { uid: uidOf(index), gid: uidOf(index) }, () => {})
  writeFileSync(join(jail.now, "kernel"), "k")
  if (placed) jail.place()
  jail.close()
  const path = placed ? join(jailRoot(site), "..") : join(site.base, `.stage-${id}`)
  return { kind: "jail", name: path }
}
