import { existsSync } from "node:fs"
import { accountOf } from "../../base/linux/accounts.ts"
import { ownEnvironment } from "../../base/linux/environment.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { callManager, isRefusedAs } from "./bus.ts"
import { packStartTransientUnit } from "./message.ts"
import { isBooted, sharesPids, unitCgroup } from "./unitCgroup.ts"

/** Where a process is, and whose manager could have a scope for it. */
export interface Surroundings {
  readonly uid: number
  /** This process's cgroup, by which systemd would end it. */
  readonly cgroup: string
  /** The private sockets of the host's manager and the user's own, where they are. */
  readonly system: string | undefined
  readonly user: string | undefined
  /** Whether the user's manager lives on after the last logout (loginctl(1), enable-linger). */
  readonly lingers: boolean
}

/** What is to be done about the cgroup of what started this process. */
export type Leaving =
  | { readonly is: "nothing to leave" }
  | { readonly is: "scope"; readonly socket: string }
  | { readonly is: "own cgroup" }
  | { readonly is: "stay"; readonly why: string }

/** How a process may leave the cgroup of what started it. Pure. */
export function planLeaving({ uid, cgroup, system, user, lingers }: Surroundings): Leaving {
  // What is nobody's ends with nobody.
  if (cgroup === "/") return { is: "nothing to leave" }
  if (uid === 0) return system === undefined ? { is: "own cgroup" } : { is: "scope", socket: system }
  if (user === undefined) return { is: "stay", why: "this user has no manager of systemd's that could keep it" }
  // A user's manager ends with the last login, and what it keeps; a login by itself may not.
  if (lingers || /\/user@\d+\.service\//.test(`${cgroup}/`)) return { is: "scope", socket: user }
  return { is: "stay", why: "this user's processes need not outlive the last logout (run: loginctl enable-linger)" }
}

/** Looks where this process is. */
export function surroundings(): Surroundings {
  const uid = process.geteuid?.() ?? 0
  const { XDG_RUNTIME_DIR: runtime } = ownEnvironment()
  const there = (path: string) => (existsSync(path) ? path : undefined)
  return {
    uid,
    cgroup: unitCgroup("self"),
    // Else it is another host's.
    system: isBooted() ? there("/run/systemd/private") : undefined,
    user: uid === 0 || runtime?.startsWith("/") !== true ? undefined : there(`${runtime}/systemd/private`),
    lingers: uid !== 0 && lingers(uid),
  }
}

/** A VM, as its units are named and described. */
export interface ScopedVm {
  readonly id: string
  readonly name: string
}

/**
 * Moves this process, its VM's supervisor, into a transient scope of its own (systemd.scope(5)), by the private socket of a manager:
 * `banger-ID.scope`, or, where what an earlier supervisor has left is still in that, `banger-ID-2.scope`, and so on. The scope goes with its
 * last process. Rejects with an Error, in a few seconds at most, when this process is not in it then.
 */
export async function enterScope(socket: string, { id, name }: ScopedVm): Promise<void> {
  const scope = { pid: "self", description: `Supervisor of VM ${name}`, after: [vmmUnit(id)] } as const
  for (let number = 1; ; number++) {
    try {
      return await startScope(socket, number === 1 ? `banger-${id}.scope` : `banger-${id}-${number}.scope`, scope)
    } catch (error) {
      if (number === NAMES_COUNT || !isRefusedAs(error, "org.freedesktop.systemd1.UnitExists")) throw error
    }
  }
}

/**
 * Moves a process into the transient scope of a VMM, `banger-ID-vmm.scope`: the VMM itself, or this process, whose VMM is born there.
 * What runs there lives on when the supervisor's scope is stopped, until the supervisor ends it. Rejects with an Error as `enterScope` does.
 */
export async function enterVmmScope(
  socket: string,
  { id, name, pid }: ScopedVm & { readonly pid: number | "self" },
): Promise<void> {
  if (isIn(pid, vmmUnit(id))) return
  if (pid !== "self" && !sharesPids(socket)) throw new Error("its manager is in another PID namespace")
  await startScope(socket, vmmUnit(id), { pid, description: `VM ${name}`, after: [] })
}

/** Whether this process is in the scope of a VMM: also where its manager came to that only after it was given up. */
export function isWithVmm({ id }: ScopedVm): boolean {
  return isIn("self", vmmUnit(id))
}

/** Why a process has not left, for people. */
export function stayed(what: "the supervisor" | "the VMM", cgroup: string, error: unknown): string {
  const why = typeof error === "string" ? error : messageOf(error)
  return `${what} stays in ${cgroup}, and may be ended with what started it: ${why}`
}

// --- internal ---

/** A manager that does not answer is waited for so long, in milliseconds. */
const CALL_MAX_MS = 3000

const POLL_MS = 2

/** Which call it is: each has a connection of its own. */
const [SERIAL] = [1]

/** So many supervisors of one VM may have left something running. */
const NAMES_COUNT = 9

/** A supervisor that is told to end has so long, in microseconds: hooks, guest and cleaning. */
const STOP_MAX_US = 300_000_000n

/** A host that goes down ends a scope later than this, which stops its guest first. */
const OUTLIVED = ["banger-shutdown.service"]

function vmmUnit(id: string): string {
  return `banger-${id}-vmm.scope`
}

/** Which process, and what its scope is: it is stopped before what it comes `after`. */
interface NewScope {
  readonly pid: number | "self"
  readonly description: string
  readonly after: readonly string[]
}

async function startScope(socket: string, unit: string, { pid, description, after }: NewScope): Promise<void> {
  const call = packStartTransientUnit(SERIAL, unit, [
    ["Description", { is: "s", value: description }],
    // 0: whoever calls, in whatever PID namespace.
    ["PIDs", { is: "au", value: [pid === "self" ? 0 : pid] }],
    ["CollectMode", { is: "s", value: "inactive-or-failed" }],
    ["TimeoutStopUSec", { is: "t", value: STOP_MAX_US }],
    ["After", { is: "as", value: after }],
    ["Before", { is: "as", value: OUTLIVED }],
  ])
  await callManager(socket, { call, serial: SERIAL, uid: process.geteuid?.() ?? 0, limitMs: CALL_MAX_MS })
  // The answer says that it has begun.
  for (const end = performance.now() + CALL_MAX_MS; !isIn(pid, unit); await Bun.sleep(POLL_MS))
    if (performance.now() > end) throw new Error(`${unit} was made, and process ${pid} is not in it`)
}

function isIn(pid: number | "self", unit: string): boolean {
  return unitCgroup(pid).endsWith(`/${unit}`)
}

function lingers(uid: number): boolean {
  const name = accountOf(uid)?.name
  return name !== undefined && !name.includes("/") && existsSync(`/var/lib/systemd/linger/${name}`)
}
