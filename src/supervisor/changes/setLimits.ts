import { readFileSync } from "node:fs"
import { basename } from "node:path"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { Failure } from "../../base/terms/failure.ts"
import { formatSize } from "../../base/terms/quantity.ts"
import { cgroupMount, cgroupPath, requireControllers } from "../../host/cgroup/cgroup.ts"
import {
  changeLimits,
  limitsAt,
  type RunningCgroup,
  requireRoom,
  requireThreads,
  withRunningCgroup,
} from "../../host/cgroup/change.ts"
import { cgroupSettings, deviceNumber } from "../../host/cgroup/limits.ts"
import type { LimitWishes } from "../../inputs/schema/limitWords.ts"
import type { Resource } from "../../store/state/handles.ts"
import { entryOf } from "../../vm/journal.ts"

/** A running VM whose limits change, and what speaks for it. */
export interface LimitedVm {
  readonly id: string
  readonly name: string
  readonly resources: readonly Resource[]
  /** The VMM, which runs. */
  readonly pid: number
}

/**
 * Gives a running VM's cgroup other limits, whoever supervises it. `check`: only finds out whether it could have them, and
 * makes room for them. Throws a failure, with nothing changed, when it could not: it never takes memory that is used.
 */
export function setLimits(
  vm: LimitedVm,
  wishes: LimitWishes,
  { check = false }: { readonly check?: boolean } = {},
): void {
  const { memory, cpus, pids, io = [] } = wishes
  const settings = cgroupSettings({
    ...{ memory, cpus, pids },
    io: io.map((limit) => ({ ...limit, device: deviceNumber(limit.device) })),
  })
  const { path, mount } = cgroupOf(vm)
  requireControllers(mount, settings)
  withRunningCgroup({ ...vm, path }, (dir) => {
    const cgroup: RunningCgroup = { ...vm, mount, dir }
    if (typeof memory === "number") requireRoom(cgroup, memory, { anonymousBytes: anonymousOf(vm.pid) })
    if (typeof pids === "number") requireThreads(cgroup, pids)
    if (!check) changeLimits(cgroup, settings)
  })
}

/**
 * Throws a failure when a guest is to have as much memory as its VMM may use, or more: by its limit now, or the one it is to
 * have. `word`: what is asked for.
 */
export function requireBelowLimit(
  { name, resources }: Pick<LimitedVm, "name" | "resources">,
  memoryMiB: number,
  { limits, word }: { readonly limits: LimitWishes; readonly word: string },
): void {
  const limit = limits.memory === undefined ? memoryLimitOf({ resources }) : limits.memory
  if (typeof limit !== "number" || limit > memoryMiB * MIB_BYTES) return
  const message = `${word}: the VMM of ${name} may use ${formatSize(limit)}, and needs more than the ${memoryMiB}M of its guest`
  const hint = "make limits.memory larger than the guest's memory, or lift it: limits.memory=none"
  throw new Failure("USAGE", message, { hint, subject: "limits.memory" })
}

/** The memory that a VM's cgroup may use now, in bytes; null: as much as there is; undefined: it is not limited there at all. */
export function memoryLimitOf({ resources }: Pick<LimitedVm, "resources">): number | null | undefined {
  const path = entryOf(resources, "cgroup")?.path
  return path === undefined ? undefined : limitsAt(path)?.memoryBytes
}

// --- internal ---

const MIB_BYTES = 1024 * 1024

function cgroupOf({ id, name, resources }: LimitedVm): { readonly path: string; readonly mount: string } {
  const path = entryOf(resources, "cgroup")?.path
  if (path === undefined) {
    const hint = "only root's VMs have one, on a host with cgroup v2 (banger doctor)"
    throw new Failure("UNSUPPORTED", `limits: ${name} has no cgroup`, { hint, subject: "limits" })
  }
  const mount = cgroupMount()
  // Of a journal that somebody has altered nothing is believed.
  if (mount !== undefined && basename(path) === id && path === cgroupPath(mount, id)) return { path, mount }
  const hint = "do this where the VM was started"
  throw new Failure("CHANGED", `limits: ${path} is not where the cgroup of ${name} is here`, {
    hint,
    subject: "limits",
  })
}

/** The memory that is a process's own, in bytes (proc(5): RssAnon). */
function anonymousOf(pid: number): number {
  const status = unlessAbsent(() => readFileSync(`/proc/${pid}/status`, "latin1"), ["ENOENT", "ESRCH"]) ?? ""
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024
}
