import { readdirSync, readFileSync } from "node:fs"
import { basename, dirname } from "node:path"
import { readAttribute, writeAttribute } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { readAll, seek, writeAll } from "../../base/linux/content.ts"
import { errorCode, ignoring, unlessAbsent } from "../../base/linux/errors.ts"
import { mkdirAt, openAt, openBeneath, rmdirAt, statDescriptor, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { awaitUrgent } from "../../base/linux/poll.ts"
import type { Stat } from "../../base/linux/structs.ts"
import { Failure } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"

// The room cgroup: a cgroup (v2) for each VM, with its limits.
// The rule: what was started in a VM's cgroup stays in it, so that an empty or removed cgroup proves its processes gone.

/** The cgroup that all VMs' cgroups are in. */
export const PARENT = "banger"

/** The cgroup of supervisors that left the one of their caller where no systemd has scopes for them. It stays. */
const SUPERVISORS = "banger-supervisors"

/** A file of a cgroup and the value to write to it. */
export type CgroupSetting = readonly [file: string, value: string]

/** Where this host's cgroup v2 hierarchy is mounted, also beside v1; undefined when it is not. */
export function cgroupMount(mountinfo = readFileSync("/proc/self/mountinfo", "latin1")): string | undefined {
  const line = mountinfo.split("\n").find((text) => / - cgroup2 /.test(text))
  return line?.split(" ")[4]
}

/** The path of a VM's cgroup below a mount. */
export function cgroupPath(mount: string, id: string): string {
  return `${mount}/${PARENT}/${id}`
}

/** The controllers that settings need: the first word of each file's name. Pure. */
export function controllersOf(settings: readonly CgroupSetting[]): readonly string[] {
  return [...new Set(settings.map(([file]) => file.split(".")[0] ?? ""))]
}

/** Moves a process into the cgroup of supervisors, which is made. Throws a system error where that may not be. */
export function joinSupervisors(mount: string, pid: number): void {
  withDescriptor(openAt(AT_FDCWD, mount, O.PATH | O_DIRECTORY), (root) => {
    ignoring(["EEXIST"], () => mkdirAt(root, SUPERVISORS, 0o755))
    withDescriptor(enter(root, SUPERVISORS), (dir) => write(dir, "cgroup.procs", String(pid)))
  })
}

/** Throws a failure that names the controllers that this host's hierarchy lacks, or that v1 has taken. */
export function requireControllers(mount: string, settings: readonly CgroupSetting[]): void {
  const there = readFileSync(`${mount}/cgroup.controllers`, "latin1").trim().split(" ")
  const missing = controllersOf(settings).filter((name) => !there.includes(name))
  if (missing.length === 0) return
  const hint = "boot the host with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1), or leave these limits out"
  const message = `limits: cgroup v2 at ${mount} has no ${missing.join(", ")} controller`
  throw new Failure("HOST_LACKS", message, { hint, subject: "limits" })
}

/** What a VM's cgroup is made with. Where cgroups can have attributes (Linux 5.7), `mark` tells whose it is. */
export interface CgroupOptions {
  readonly settings: readonly CgroupSetting[]
  readonly mark?: string | undefined
}

/** Makes a VM's cgroup. Throws when it is there already. */
export function makeCgroup(mount: string, id: string, { settings, mark }: CgroupOptions): void {
  withDescriptor(openAt(AT_FDCWD, mount, O.PATH | O_DIRECTORY), (root) => {
    enable(root, controllersOf(settings))
    ignoring(["EEXIST"], () => mkdirAt(root, PARENT, 0o755))
    withDescriptor(enter(root, PARENT), (parent) => {
      enable(parent, controllersOf(settings))
      mkdirAt(parent, id, 0o755)
      withDescriptor(enter(parent, id), (dir) => {
        // Without a mark, a sweep can judge the cgroup only by its age.
        if (mark !== undefined) ignoring(NO_ATTRIBUTES, () => writeAttribute(dir, MARK, mark))
        for (const [file, value] of settings) write(dir, file, value)
      })
    })
  })
}

/** Switches controllers on for the cgroups of all VMs. Those that are on stay so. */
export function enableControllers(mount: string, controllers: readonly string[]): void {
  withDescriptor(openAt(AT_FDCWD, mount, O.PATH | O_DIRECTORY), (root) => {
    enable(root, controllers)
    withDescriptor(enter(root, PARENT), (parent) => enable(parent, controllers))
  })
}

/** Writes a value to a file of a cgroup that is open as `dir`. */
export function write(dir: number, file: string, value: string): void {
  withDescriptor(openBeneath(dir, file, O.WRONLY), (fd) => writeAll(fd, new TextEncoder().encode(value)))
}

/** A VM's cgroup as it is now. */
export interface CgroupFacts {
  readonly path: string
  readonly mark: string | undefined
  readonly populated: boolean
  readonly stat: Stat
}

/** The names of the cgroups of all VMs, of whatever state directory. */
export function listCgroups(mount: string): readonly string[] {
  const entries = unlessAbsent(() => readdirSync(`${mount}/${PARENT}`, { withFileTypes: true })) ?? []
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
}

/** What is known of a VM's cgroup; undefined when there is none. */
export function lookAtCgroup(mount: string, id: string): CgroupFacts | undefined {
  const path = cgroupPath(mount, id)
  const look = (dir: number) => {
    const events = withDescriptor(openBeneath(dir, "cgroup.events", O.RDONLY), (fd) => readAll(fd, 4096))
    const populated = !isEmpty(new TextDecoder().decode(events))
    return { path, mark: readAttribute(dir, MARK), populated, stat: statDescriptor(dir) }
  }
  const open = () => openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY | O_NOFOLLOW)
  // ENODEV: it was removed after it was opened.
  return unlessAbsent(() => withDescriptor(open(), look), ["ENOENT", "ENODEV"])
}

/** Removes an empty cgroup; throws EBUSY when it has processes. A cgroup that is gone is fine. */
export function removeEmptyCgroup(path: string): void {
  ignoring(["ENOENT"], () =>
    withDescriptor(openAt(AT_FDCWD, dirname(path), O.PATH | O_DIRECTORY | O_NOFOLLOW), (parent) =>
      rmdirAt(parent, basename(path)),
    ),
  )
}

/** Runs `work` with a descriptor of a VM's cgroup. */
export function withCgroup<T>(path: string, work: (dir: number) => T): T {
  return withDescriptor(openAt(AT_FDCWD, path, O.PATH | O_DIRECTORY | O_NOFOLLOW), work)
}

/** Moves a process with all its threads into a VM's cgroup; whatever it starts afterwards is born there. */
export function joinCgroup(path: string, pid: number): void {
  withCgroup(path, (dir) => write(dir, "cgroup.procs", String(pid)))
}

/**
 * Kills every process in a cgroup, also those being forked meanwhile (cgroup.kill, Linux 5.14), waits until the cgroup is
 * empty, and removes it. Returns whether there was one: then its processes are proven gone. Throws a failure when it is not
 * empty within `timeoutMs`.
 */
export function removeCgroup(path: string, timeoutMs: number): boolean {
  const at = path.lastIndexOf("/")
  const name = path.slice(at + 1)
  let wasThere = false
  ignoring(["ENOENT"], () =>
    withDescriptor(openAt(AT_FDCWD, path.slice(0, at), O.PATH | O_DIRECTORY | O_NOFOLLOW), (parent) => {
      if (!removeIfEmpty(parent, name)) {
        withDescriptor(enter(parent, name), (dir) => {
          write(dir, "cgroup.kill", "1")
          awaitEmpty(dir, path, timeoutMs)
        })
        rmdirAt(parent, name)
      }
      wasThere = true
    }),
  )
  return wasThere
}

/** Whether a cgroup.events text says that no process is in the cgroup. Pure. */
export function isEmpty(events: string): boolean {
  return /^populated 0$/m.test(events)
}

// --- internal ---

/** The attribute that tells whose a cgroup is. */
const MARK = "user.banger"

/** The kernel or the container has no attributes, or no room for one more. */
const NO_ATTRIBUTES = ["EOPNOTSUPP", "EPERM", "EACCES", "ENOSPC"]

/** Its kill file, where nothing is to be killed, costs more than all the rest. */
function removeIfEmpty(parent: number, name: string): boolean {
  try {
    rmdirAt(parent, name)
    return true
  } catch (error) {
    if (errorCode(error) !== "EBUSY") throw error
    return false
  }
}

function enter(dir: number, name: string): number {
  return openBeneath(dir, name, O.PATH | O_DIRECTORY | O_NOFOLLOW)
}

function enable(dir: number, controllers: readonly string[]): void {
  if (controllers.length > 0) write(dir, "cgroup.subtree_control", controllers.map((name) => `+${name}`).join(" "))
}

function awaitEmpty(dir: number, path: string, timeoutMs: number): void {
  const deadline = performance.now() + timeoutMs
  withDescriptor(openBeneath(dir, "cgroup.events", O.RDONLY), (fd) => {
    for (;;) {
      seek(fd, 0, 0)
      if (isEmpty(new TextDecoder().decode(readAll(fd, 4096)))) return
      const left = deadline - performance.now()
      if (left <= 0) {
        const message = `the processes in ${path} were killed and have not ended in ${formatDuration(timeoutMs)}`
        const hint = `look at them: cat ${path}/cgroup.procs; one in uninterruptible sleep (D) waits for a device`
        throw new Failure("TIMED_OUT", message, { hint, subject: path })
      }
      awaitUrgent(fd, left)
    }
  })
}
