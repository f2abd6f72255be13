import { existsSync, readFileSync } from "node:fs"
import { accountOf } from "../../base/linux/accounts.ts"
import { ownEnvironment } from "../../base/linux/environment.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { callManager } from "./bus.ts"
import { packStartTransientUnit, type Variant } from "./message.ts"

/** Where a process is, and whose manager could have a scope for it. */
export interface Surroundings {
  readonly uid: number
  /** This process's cgroup, as /proc/self/cgroup has it. */
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
    cgroup: ownCgroup(),
    // sd_booted(3): else it is another host's.
    system: existsSync("/run/systemd/system") ? there("/run/systemd/private") : undefined,
    user: uid === 0 || runtime?.startsWith("/") !== true ? undefined : there(`${runtime}/systemd/private`),
    lingers: uid !== 0 && lingers(uid),
  }
}

/**
 * Moves this process into a transient scope of its own, `banger-ID.scope` (systemd.scope(5)), by the private socket of a manager.
 * The scope goes with its last process. Rejects with an Error, in a few seconds at most, when this process is not in it then.
 */
export async function enterScope(
  socket: string,
  { id, name }: { readonly id: string; readonly name: string },
): Promise<void> {
  const unit = `banger-${id}.scope`
  const call = packStartTransientUnit(SERIAL, unit, propertiesOf(name))
  await callManager(socket, { call, serial: SERIAL, uid: process.geteuid?.() ?? 0, limitMs: CALL_MAX_MS })
  // The answer says that it has begun.
  for (const end = performance.now() + CALL_MAX_MS; !ownCgroup().endsWith(`/${unit}`); await Bun.sleep(POLL_MS))
    if (performance.now() > end) throw new Error(`${unit} was made, and this process is not in it`)
}

/** This process's cgroup in the hierarchy v2, as `/system.slice/web.service`; `/` where there is none. */
export function ownCgroup(text = readFileSync("/proc/self/cgroup", "latin1")): string {
  return /^0::(\/.*)$/m.exec(text)?.[1] ?? "/"
}

/** Why a process has not left, for people. */
export function stayed(cgroup: string, error: unknown): string {
  const why = typeof error === "string" ? error : messageOf(error)
  return `the supervisor stays in ${cgroup}, and may be ended with what started it: ${why}`
}

// --- internal ---

/** A manager that does not answer is waited for so long, in milliseconds. */
const CALL_MAX_MS = 3000

const POLL_MS = 2

/** Which call it is: each has a connection of its own. */
const [SERIAL] = [1]

/** A supervisor that is told to end has so long, in microseconds: hooks, guest and cleaning. */
const STOP_MAX_US = 300_000_000n

function propertiesOf(name: string): readonly (readonly [string, Variant])[] {
  return [
    ["Description", { is: "s", value: `Supervisor of VM ${name}` }],
    // 0: whoever calls, in whatever PID namespace.
    ["PIDs", { is: "au", value: [0] }],
    ["CollectMode", { is: "s", value: "inactive-or-failed" }],
    ["TimeoutStopUSec", { is: "t", value: STOP_MAX_US }],
    // A host that goes down ends it later than that service, which stops its guest first.
    ["Before", { is: "as", value: ["banger-boot.service"] }],
  ]
}

function lingers(uid: number): boolean {
  const name = accountOf(uid)?.name
  return name !== undefined && !name.includes("/") && existsSync(`/var/lib/systemd/linger/${name}`)
}
