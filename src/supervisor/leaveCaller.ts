import type { Log } from "../base/terms/log.ts"
import { cgroupMount, joinSupervisors } from "../host/cgroup/cgroup.ts"
import { enterScope, planLeaving, stayed, surroundings } from "../host/systemd/scope.ts"

/**
 * Has this process, and what it starts from then on, outlive the login, service or job that started it: leaves its cgroup, for a
 * transient scope of systemd's, or where there is no systemd, one of banger's. Where it cannot, one line says so. Never rejects, and
 * takes some seconds at most.
 */
export async function leaveCaller(
  vm: { readonly id: string; readonly name: string },
  log: Pick<Log, "warn">,
): Promise<void> {
  const around = surroundings()
  const plan = planLeaving(around)
  try {
    if (plan.is === "scope") await enterScope(plan.socket, vm)
    else if (plan.is === "own cgroup") joinOwn()
    else if (plan.is === "stay") log.warn(stayed(around.cgroup, plan.why))
  } catch (error) {
    if (around.uid === 0 && joined()) return
    log.warn(stayed(around.cgroup, error))
  }
}

// --- internal ---

function joinOwn(): void {
  const mount = cgroupMount()
  if (mount === undefined) throw new Error("this host has no cgroup v2")
  joinSupervisors(mount, process.pid)
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
