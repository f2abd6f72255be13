import { readFileSync } from "node:fs"
import { basename } from "node:path"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { Failure } from "../../base/terms/failure.ts"
import { formatSize } from "../../base/terms/quantity.ts"
import { type CgroupSetting, cgroupMount, cgroupPath, requireControllers } from "../../host/cgroup/cgroup.ts"
import {
  lifts,
  openRunningCgroup,
  type RunningCgroup,
  requireMemory,
  requireThreads,
} from "../../host/cgroup/change.ts"
import { cgroupSettings, deviceNumber } from "../../host/cgroup/limits.ts"
import { limitsAt } from "../../host/cgroup/present.ts"
import type { LimitWishes } from "../../inputs/schema/limitWords.ts"
import type { Resource } from "../../store/state/handles.ts"
import { entryOf } from "../../vm/journal.ts"

/** A running VM, by its journal. */
export interface JournaledVm {
  readonly id: string
  readonly name: string
  readonly resources: readonly Resource[]
}

/** Opens a VM's cgroup; the caller closes it. Throws a failure when it has none, it has gone, or another one is named. */
export function openCgroup({ id, name, resources }: JournaledVm): RunningCgroup & Disposable {
  const path = entryOf(resources, "cgroup")?.path
  if (path === undefined) {
    const hint = "only root's VMs have one, on a host with cgroup v2 (banger doctor)"
    throw new Failure("UNSUPPORTED", `limits: ${name} has no cgroup`, { hint, subject: "limits" })
  }
  const mount = cgroupMount()
  // Of a journal that somebody has altered nothing is believed.
  if (mount !== undefined && basename(path) === id && path === cgroupPath(mount, id))
    return openRunningCgroup({ id, name, mount, path })
  const hint = "do this where the VM was started"
  throw new Failure("CHANGED", `limits: ${path} is not where the cgroup of ${name} is here`, {
    hint,
    subject: "limits",
  })
}

/** What to write for other limits. Throws a failure for a device that is none. */
export function settingsOf({ io = [], ...others }: LimitWishes): readonly CgroupSetting[] {
  return cgroupSettings({
    ...others,
    io: io.map((limit) => ({ ...limit, device: deviceNumber(limit.device) })),
  })
}

/** Throws a failure, with nothing changed, when a VMM would be ended by these limits, or the host has none of the kind. */
export function requireLimits(
  cgroup: RunningCgroup,
  { memory, pids, ...others }: LimitWishes,
  { pid, vmm }: { readonly pid: number; readonly vmm: string },
): void {
  const settings = settingsOf({ memory, pids, ...others })
  requireControllers(
    cgroup.mount,
    settings.filter((setting) => !lifts(setting)),
  )
  if (typeof pids === "number")
    requireThreads(cgroup, pids, { spare: vmm === "qemu" ? QEMU_WORKERS_MAX_COUNT : undefined })
  if (typeof memory === "number") requireMemory(cgroup, memory, { ownBytes: ownMemoryOf(pid) })
}

/**
 * Throws a failure when a guest is to have as much memory as its VMM may use, or more. `limitBytes`: what that is, or is to be; null
 * and undefined: as much as there is. `word`: what is asked for.
 */
export function requireBelowLimit(
  name: string,
  memoryMiB: number,
  { limitBytes, word }: { readonly limitBytes: number | null | undefined; readonly word: string },
): void {
  if (typeof limitBytes !== "number" || limitBytes > memoryMiB * MIB_BYTES) return
  const message = `${word}: the VMM of ${name} may use ${formatSize(limitBytes)}, and needs more than the ${memoryMiB}M of its guest`
  const hint = "make limits.memory larger than the guest's memory, or lift it: limits.memory=none"
  throw new Failure("USAGE", message, { hint, subject: "limits.memory" })
}

/** The memory that a VM's cgroup may use now, in bytes; null: as much as there is; undefined: it has no cgroup. */
export function memoryLimitOf({ resources }: Pick<JournaledVm, "resources">): number | null | undefined {
  const path = entryOf(resources, "cgroup")?.path
  return path === undefined ? undefined : limitsAt(path)?.memoryBytes
}

/**
 * The memory that is a process's own, in bytes, as cgroups count it (proc(5)): RssAnon, and RssShmem, where a guest's memory is
 * that something else serves a drive of (a memfd).
 */
export function ownMemoryOf(pid: number): number {
  const status = unlessAbsent(() => readFileSync(`/proc/${pid}/status`, "latin1"), ["ENOENT", "ESRCH"]) ?? ""
  const kilobytes = [...status.matchAll(/^Rss(?:Anon|Shmem):\s+(\d+) kB$/gm)].map(([, count]) => Number(count))
  return kilobytes.reduce((sum, each) => sum + each, 0) * 1024
}

// --- internal ---

const MIB_BYTES = 1024 * 1024

/** QEMU's threads that read and write drives come as they are needed, up to so many (its thread pool); it aborts when one cannot. */
const QEMU_WORKERS_MAX_COUNT = 64
