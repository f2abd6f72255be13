import { errorCode } from "../base/linux/errors.ts"
import type { Log } from "../base/terms/log.ts"
import { cgroupMount, cgroupPath, joinSupervisors } from "../host/cgroup/cgroup.ts"
import {
  enterScope,
  enterVmmScope,
  isWithVmm,
  planLeaving,
  type ScopedVm,
  stayed,
  surroundings,
} from "../host/systemd/scope.ts"
import { goesByV2, unitCgroup } from "../host/systemd/unitCgroup.ts"

/** How a process leaves. */
export interface LeavingOptions {
  readonly log: Pick<Log, "warn">
  readonly again?: boolean
}

/**
 * Has this process, and what it starts from then on, outlive the login, service or job that started it: leaves its cgroup, for a
 * transient scope of systemd's, or where there is no systemd, one of banger's. Where it cannot, one line says so. Never rejects, and
 * takes some seconds at most.
 */
export async function leaveCaller(vm: ScopedVm, log: Pick<Log, "warn">): Promise<void> {
  await leaveFor((socket) => enterScope(socket, vm), { log })
}

/**
 * The same before a VMM is started that gets no cgroup of its own: this process enters the scope that the VMM is then born in, with all
 * that the kernel adds to it. Returns what to call, once, when the VMM runs: this process leaves it alone there, so that a stop
 * of this process's scope is no stop of the VMM's. `again`: it has done that before, for another VM.
 */
export async function leaveWithVmm(vm: ScopedVm, how: LeavingOptions): Promise<() => Promise<void>> {
  await leaveFor((socket) => enterVmmScope(socket, { ...vm, pid: "self" }), how)
  return async () => {
    if (isWithVmm(vm)) await leaveCaller(vm, how.log)
  }
}

/** Whether a VMM that gets this cgroup is not ended with its supervisor's. */
export function hasOwn(cgroup: object | undefined): boolean {
  return cgroup !== undefined && goesByV2()
}

/**
 * Has a VMM that runs already outlive what started it: one without a cgroup of its own gets a scope. Where it cannot, one line says so,
 * unless `leaveCaller` has. Never rejects, and takes some seconds at most.
 */
export async function keepVmm(vm: ScopedVm & { readonly pid: number }, log: Pick<Log, "warn">): Promise<void> {
  let cgroup = ""
  try {
    cgroup = unitCgroup(vm.pid)
    if (cgroup === "/" || cgroup.endsWith(cgroupPath("", vm.id))) return
    const plan = planLeaving(surroundings())
    if (plan.is === "scope") await enterVmmScope(plan.socket, vm)
  } catch (error) {
    // It has ended.
    if (["ENOENT", "ESRCH"].includes(errorCode(error) ?? "")) return
    log.warn(stayed("the VMM", cgroup, error))
  }
}

/**
 * Leaves the cgroup of a user whom this process of root's serves: they may own it (systemd delegates it to a user's own manager), and
 * would freeze this process, or kill it, while it holds what root and others wait for. A host without a cgroup v2 that can be written to
 * has none that is a user's.
 */
export function leaveUsersCgroup(): void {
  const mount = cgroupMount()
  if (mount === undefined) return
  try {
    joinSupervisors(mount, process.pid)
  } catch (error) {
    if (errorCode(error) === undefined) throw error
  }
}

// --- internal ---

/** Leaves by a manager's socket, or without one. That a process is to stay is said once. */
async function leaveFor(
  enter: (socket: string) => Promise<void>,
  { log, again = false }: LeavingOptions,
): Promise<void> {
  const around = surroundings()
  const plan = planLeaving(around)
  try {
    if (plan.is === "scope") await enter(plan.socket)
    else if (plan.is === "own cgroup") joinOwn()
    else if (plan.is === "stay" && !again) log.warn(stayed("the supervisor", around.cgroup, plan.why))
  } catch (error) {
    if (around.uid !== 0 || !joined()) log.warn(stayed("the supervisor", around.cgroup, error))
  }
}

function joinOwn(): void {
  const mount = cgroupMount()
  if (mount === undefined) throw new Error("this host has no cgroup v2")
  joinSupervisors(mount, process.pid)
  if (!goesByV2()) throw new Error("its systemd goes by cgroup v1")
}

/** Where a manager does not do it, a cgroup that no unit has is as good. */
function joined(): boolean {
  try {
    joinOwn()
    return true
  } catch {
    // Why the manager has not done it is told.
    return false
  }
}
