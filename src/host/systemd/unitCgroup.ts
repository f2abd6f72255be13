import { existsSync, readFileSync } from "node:fs"
import { listenerOf } from "../../base/linux/sockets.ts"

/**
 * The cgroup by which systemd knows a process, as `/system.slice/web.service`: in the hierarchy v2, also where that is beside v1, and
 * on a host with v1 alone in systemd's own. `/` where it is in none. Throws a system error when the process is gone.
 */
export function unitCgroup(pid: number | "self"): string {
  const text = readFileSync(`/proc/${pid}/cgroup`, "latin1")
  return parseUnitCgroup(text, isBooted() ? readFileSync("/proc/self/mountinfo", "latin1") : undefined)
}

/** The same, of /proc/PID/cgroup and of this process's mounts where systemd has booted this host. Pure. */
export function parseUnitCgroup(text: string, mountinfo: string | undefined): string {
  const own = /^0::(\/.*)$/m.exec(text)?.[1] ?? "/"
  // A hierarchy v2 that somebody has mounted elsewhere, beside v1, is none that systemd looks at.
  if (mountinfo === undefined || V2_OF_SYSTEMD.test(mountinfo)) return own
  return /^\d+:name=systemd:(\/.*)$/m.exec(text)?.[1] ?? own
}

/** Whether it is in the hierarchy v2 that processes are told apart: then a cgroup there is none of a unit's. */
export function goesByV2(): boolean {
  return !isBooted() || V2_OF_SYSTEMD.test(readFileSync("/proc/self/mountinfo", "latin1"))
}

/** Whether systemd has booted this host (sd_booted(3)). */
export function isBooted(): boolean {
  return existsSync("/run/systemd/system")
}

/** Whether a manager's pids are those of this process: it may be reached from another PID namespace. */
export function sharesPids(socket: string): boolean {
  try {
    // 0: it is in none that this process sees.
    const { pid } = listenerOf(socket)
    return pid !== 0 && isOfThisNamespace(readFileSync(`/proc/${pid}/status`, "latin1"))
  } catch {
    return false
  }
}

/** Whether the process of this /proc/PID/status is in the PID namespace of the reader, and in none below. Pure. */
export function isOfThisNamespace(status: string): boolean {
  return /^NSpid:\s+\d+$/m.test(status)
}

// --- internal ---

/** Where systemd mounts it: alone, and beside v1 since systemd 233, or in 232. */
const V2_OF_SYSTEMD = /^\S+ \S+ \S+ \S+ \/sys\/fs\/cgroup(?:\/unified|\/systemd)? .* - cgroup2 /m
