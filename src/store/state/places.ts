import { join } from "node:path"
import { Failure } from "../../base/terms/failure.ts"

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

/** The places of the user with this uid. Throws a failure when a variable that is set is not an absolute path. */
export function places(env: PlacesEnv, uid: number): AllPlaces {
  const root = uid === 0
  const home = absolute(env, "HOME") ?? "/"
  const stateHome = absolute(env, "XDG_STATE_HOME") ?? join(home, ".local/state")
  const runtimeHome = absolute(env, "XDG_RUNTIME_DIR")
  const userRuntime = runtimeHome === undefined ? `/tmp/banger-runtime-${uid}` : join(runtimeHome, "banger")
  return {
    state: absolute(env, "BANGER_STATE_DIR") ?? (root ? "/var/lib/banger" : join(stateHome, "banger")),
    config:
      absolute(env, "BANGER_CONFIG") ??
      (root
        ? "/etc/banger/config.toml"
        : join(absolute(env, "XDG_CONFIG_HOME") ?? join(home, ".config"), "banger/config.toml")),
    runtime: absolute(env, "BANGER_RUNTIME_DIR") ?? (root ? "/run/banger" : userRuntime),
  }
}

/** The files of one VM, all beneath the places. */
export interface VmLayout {
  readonly id: string
  readonly dir: string
  readonly handles: string
  /** Held by the process that acts on this VM. */
  readonly lock: string
  readonly consoleLog: string
  readonly vmmLog: string
  /** Firecracker's own log and metrics; the VM's uid writes them, the names are root's. */
  readonly firecrackerLog: string
  readonly firecrackerMetrics: string
  readonly events: string
  readonly plugin: string
  /** What a supervisor without a terminal says. */
  readonly supervisorLog: string
  /** How the VM is to be stopped; written by who asks, before the supervisor is told. */
  readonly stopRequest: string
  /** Kernels that were unpacked, by their sha256. */
  readonly kernels: string
  /** Where the jails of all VMs are. */
  readonly jails: string
  /** What is staged for a VM without a jail; removed with the VM. */
  readonly stage: string
  /** Sockets and FIFOs of this VM; removed with it. */
  readonly runtime: string
  readonly consoleInput: string
  readonly qmpSocket: string
}

/** The layout of the VM with this id. */
export function vmLayout(where: Places, id: string): VmLayout {
  const dir = join(where.state, "vms", id)
  const runtime = join(where.runtime, id)
  return {
    id,
    dir,
    handles: join(dir, "handles.json"),
    lock: join(dir, "lock"),
    consoleLog: join(dir, "console.log"),
    vmmLog: join(dir, "vmm.log"),
    firecrackerLog: join(dir, "firecracker.log"),
    firecrackerMetrics: join(dir, "metrics.json"),
    events: join(dir, "events.jsonl"),
    plugin: join(dir, "plugin.json"),
    supervisorLog: join(dir, "supervisor.log"),
    stopRequest: join(dir, "stop.json"),
    kernels: join(where.state, "kernels"),
    jails: join(where.state, "jail"),
    stage: join(dir, "stage"),
    runtime,
    consoleInput: join(runtime, "console.in"),
    qmpSocket: join(runtime, "qmp.sock"),
  }
}

// --- internal ---

function absolute(env: PlacesEnv, name: string): string | undefined {
  const value = env[name]
  if (value === undefined || value === "") return undefined
  if (!value.startsWith("/")) {
    const message = `${name} must be an absolute path, not ${JSON.stringify(value)}`
    throw new Failure("BAD_CONFIG", message, { hint: "give one that begins with /", subject: name })
  }
  return value
}
