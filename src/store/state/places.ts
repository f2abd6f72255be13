import { join } from "node:path"
import { Failure } from "../../base/terms/failure.ts"
import { type HostPath, hostPath } from "../../base/terms/path.ts"

/** Where everything of this user lives. Absolute paths; nothing is created by naming them. */
export interface Places {
  /** state.db and vms/. */
  readonly state: string
  /** Sockets and FIFOs; gone after a reboot. */
  readonly runtime: string
}

/** The places, and the configuration file. */
export interface AllPlaces extends Places {
  readonly config: string
}

/** The environment variables that move the places. */
export type PlacesEnv = Readonly<Record<string, string | undefined>>

/** The places of the user with this uid: by variables, by `named` of the configuration, or as they always are. Throws a failure when a variable that is set is not an absolute path. */
export function places(
  env: PlacesEnv,
  uid: number,
  named: { readonly [K in keyof Places]?: Places[K] | undefined } = {},
): AllPlaces {
  const root = uid === 0
  const home = absolute(env, "HOME") ?? "/"
  const stateHome = absolute(env, "XDG_STATE_HOME") ?? join(home, ".local/state")
  const runtimeHome = absolute(env, "XDG_RUNTIME_DIR")
  const userRuntime = runtimeHome === undefined ? `/tmp/banger-runtime-${uid}` : join(runtimeHome, "banger")
  return {
    state: absolute(env, "BANGER_STATE_DIR") ?? named.state ?? (root ? "/var/lib/banger" : join(stateHome, "banger")),
    config:
      absolute(env, "BANGER_CONFIG") ??
      (root
        ? "/etc/banger/config.toml"
        : join(absolute(env, "XDG_CONFIG_HOME") ?? join(home, ".config"), "banger/config.toml")),
    runtime: absolute(env, "BANGER_RUNTIME_DIR") ?? named.runtime ?? (root ? "/run/banger" : userRuntime),
  }
}

/** The files of one VM, all beneath the places. */
export interface VmLayout {
  readonly id: string
  readonly dir: HostPath
  readonly handles: HostPath
  /** Locked by the process that acts on this VM. */
  readonly lock: HostPath
  readonly consoleLog: HostPath
  /** Made when a VMM is about to be born with a lock on its console. */
  readonly consoleHeld: HostPath
  readonly vmmLog: HostPath
  /** Firecracker's own log and metrics; the VM's uid writes them, the names are root's. */
  readonly firecrackerLog: HostPath
  readonly firecrackerMetrics: HostPath
  readonly events: HostPath
  readonly plugin: HostPath
  /** The plugin's modules, kept by a supervisor that rests. */
  readonly modules: HostPath
  /** The messages of a supervisor without a terminal. */
  readonly supervisorLog: HostPath
  /** How to stop the VM; `banger stop` writes it before it signals the supervisor. */
  readonly stopRequest: HostPath
  /** What its supervisor is asked to become. */
  readonly handover: HostPath
  /** Kernels that were unpacked, by their sha256. */
  readonly kernels: HostPath
  /** The persistent disks, which are no VM's alone. */
  readonly disks: HostPath
  /** Where the jails of all VMs are. */
  readonly jails: HostPath
  /** What is staged for a VM without a jail; removed with the VM. */
  readonly stage: HostPath
  /** Sockets and FIFOs of this VM; removed with it. */
  readonly runtime: HostPath
  readonly consoleInput: HostPath
  /** How far the console was shown by a supervisor that is a service. */
  readonly consoleShown: HostPath
  readonly qmpSocket: HostPath
}

/** The name of a stop request in its VM's directory. */
export const STOP_REQUEST = "stop.json"

/** The name of a request to become another program there. */
export const HANDOVER = "handover.json"

/** The layout of the VM with this id. */
export function vmLayout(where: Places, id: string): VmLayout {
  // Both places are real paths: nothing is left to resolve, and a list does this for a thousand VMs.
  const at = (directory: string, name: string) => hostPath(`${directory}/${name}`)
  const dir = at(where.state, `vms/${id}`)
  const runtime = at(where.runtime, id)
  return {
    id,
    dir,
    handles: at(dir, "handles.json"),
    lock: at(dir, "lock"),
    consoleLog: at(dir, "console.log"),
    consoleHeld: at(dir, "console.held"),
    vmmLog: at(dir, "vmm.log"),
    firecrackerLog: at(dir, "firecracker.log"),
    firecrackerMetrics: at(dir, "metrics.json"),
    events: at(dir, "events.jsonl"),
    plugin: at(dir, "plugin.json"),
    modules: at(dir, "modules.json"),
    supervisorLog: at(dir, "supervisor.log"),
    stopRequest: at(dir, STOP_REQUEST),
    handover: at(dir, HANDOVER),
    kernels: kernelsDirectory(where),
    disks: disksDirectory(where),
    jails: at(where.state, "jail"),
    stage: at(dir, "stage"),
    runtime,
    consoleInput: at(runtime, "console.in"),
    consoleShown: at(runtime, "console.shown"),
    qmpSocket: at(runtime, "qmp.sock"),
  }
}

/** Where the persistent disks are. */
export function disksDirectory({ state }: Pick<Places, "state">): HostPath {
  return hostPath(`${state}/disks`)
}

/** Where the kernels are that were unpacked. */
export function kernelsDirectory({ state }: Pick<Places, "state">): HostPath {
  return hostPath(`${state}/kernels`)
}

/** A fresh id for one boot of the VM with this name: `[a-z0-9-]`, at most 28 characters, 41 random bits. */
export function newVmId(name: string): string {
  const random = crypto.getRandomValues(new Uint32Array(8))
  const suffix = Array.from(random, (value) => LETTERS[value % LETTERS.length]).join("")
  return `${name.slice(0, 19).replace(/-+$/, "")}-${suffix}`
}

// --- internal ---

const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

function absolute(env: PlacesEnv, name: string): string | undefined {
  const value = env[name]
  if (value === undefined || value === "") return undefined
  if (!value.startsWith("/")) {
    const message = `${name} must be an absolute path, not ${JSON.stringify(value)}`
    throw new Failure("BAD_CONFIG", message, { hint: "give one that begins with /", subject: name })
  }
  return value
}
