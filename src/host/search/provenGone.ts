import { existsSync, readdirSync, readFileSync } from "node:fs"
import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, openAt, statPath, tryFlock, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { ownNamespace } from "../process/procfs.ts"
import { mayBeOurs } from "./holders.ts"
import type { VmmQuery } from "./query.ts"
import { requireSight } from "./witnesses.ts"

/**
 * Why a VM's VMM has surely ended, where its pid cannot be asked for (another PID namespace, a /proc that hides it); undefined when
 * nothing proves that. Each of these is a proof by itself, on the kernel that the VMM was started on:
 *
 * - its cgroup is there and empty: it was in it before its identity was written down;
 * - nobody holds the lock on its console, which it was born with as its standard output (`consoleHeld` tells that it was);
 * - seen from the first PID namespace, from where every process is seen, no process is left in its own.
 *
 * Throws nothing.
 */
export function provenGone({ identity, cgroup, console, consoleHeld, ...sought }: VmmQuery): string | undefined {
  const namespace = identity?.pidNamespace ?? sought.pidNamespace
  const proofs: readonly (() => string | undefined)[] = [
    () => (identity !== null && cgroup !== undefined && isEmptyCgroup(cgroup) ? "its cgroup is empty" : undefined),
    () =>
      consoleHeld !== undefined && isLetGo(console, consoleHeld) ? "nobody holds its console any more" : undefined,
    () => (namespace !== undefined && isDeserted(namespace) ? "no process of its PID namespace is left" : undefined),
  ]
  for (const proof of proofs) {
    const why = attempt(proof)
    if (why !== undefined) return why
  }
  return undefined
}

/**
 * What of a VM's VMM runs on, although its boot has another id than this one has here; undefined where nothing does. After a reboot
 * nothing can. A container may have a boot id of its own (systemd-nspawn, LXC), on the kernel of the others. Throws nothing.
 */
export function runsOn({ cgroup, console, consoleHeld }: VmmQuery): string | undefined {
  const isHeld = () => consoleHeld !== undefined && existsSync(consoleHeld) && !isLetGo(console, consoleHeld)
  if (attempt(isHeld) === true) return "a process holds its console"
  const events = attempt(() => (cgroup === undefined ? undefined : readFileSync(`${cgroup}/cgroup.events`, "latin1")))
  return events !== undefined && /^populated 1$/m.test(events) ? "its cgroup has processes" : undefined
}

// --- internal ---

/** The inode of the first PID namespace of every kernel (include/linux/proc_ns.h: PROC_PID_INIT_INO). */
const FIRST_PID_NAMESPACE = "4026531836"

/** A cgroup that is not there proves nothing: this may be another view of the hierarchy. */
function isEmptyCgroup(path: string): boolean {
  const events = unlessAbsent(() => readFileSync(`${path}/cgroup.events`, "latin1"), ["ENOENT", "ENODEV"])
  return events !== undefined && /^populated 0$/m.test(events)
}

/** Whoever else looks at the same time holds the lock for a moment: then nothing is proven this time. */
function isLetGo(console: string, mark: string): boolean {
  if (!existsSync(mark)) return false
  return withDescriptor(openAt(AT_FDCWD, console, O.RDONLY | O.NONBLOCK | O_NOFOLLOW), tryFlock)
}

/**
 * Whether no process is left in a PID namespace: it has ended with its first process, and what was started in it, or in one below
 * it, with it.
 */
function isDeserted(namespace: string): boolean {
  const own = ownNamespace("pid")
  if (own === undefined || own === namespace || own.split(":").at(-1) !== FIRST_PID_NAMESPACE) return false
  requireSight(process.geteuid?.() === 0 ? SOMEBODY_UID : undefined)
  return readdirSync("/proc")
    .filter((name) => /^[1-9]\d*$/.test(name))
    .every((pid) => isNotIn(Number(pid), namespace))
}

/** Any uid that is not root's. */
const SOMEBODY_UID = 1

function isNotIn(pid: number, namespace: string): boolean {
  try {
    return inodeOf(statPath(`/proc/${pid}/ns/pid`)) !== namespace
  } catch (error) {
    const code = errorCode(error)
    if (code === "ENOENT" || code === "ESRCH") return true
    return (code === "EACCES" || code === "EPERM") && !mayBeOurs(pid)
  }
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    // What cannot be read proves nothing.
    return undefined
  }
}
