import type { Confinement } from "../vmm/vmm.ts"

/** The name of the API socket in the VMM's root directory. */
export const API_SOCKET = "api.sock"

/** The names of Firecracker's own log, and of its metrics, in its jail. */
export const LOG = "firecracker.log"
export const METRICS = "metrics.json"

/** How much it logs unless it is told. */
export const LOG_LEVEL = "Warn"

/** How the jailer is to start Firecracker. */
export interface JailerLaunch {
  readonly jailer: string
  readonly executable: string
  readonly id: string
  /** The base of the jails, above the directory named after the executable. */
  readonly base: string
  readonly confinement: Confinement
  /** The VM's cgroup below the cgroup v2 mount, which is there already. */
  readonly cgroup: string | undefined
  readonly netns: string | undefined
  /** By the jailer's names: `fsize` (bytes), `no-file`. */
  readonly limits?: Readonly<Record<string, number | undefined>> | undefined
}

/** The command line of the jailer, in the foreground, and behind `--` Firecracker's own options. Pure. */
export function jailerArgv(launch: JailerLaunch): readonly string[] {
  const { jailer, executable, id, base, confinement, cgroup, netns, limits = {} } = launch
  return [
    jailer,
    ...["--id", id, "--exec-file", executable],
    ...["--uid", String(confinement.uid), "--gid", String(confinement.gid)],
    ...["--chroot-base-dir", base],
    // Found to be there, not assumed: its default is version 1, which hosts may not have.
    ...(cgroup === undefined ? [] : ["--cgroup-version", "2", "--parent-cgroup", cgroup]),
    ...(netns === undefined ? [] : ["--netns", netns]),
    ...Object.entries(limits).flatMap(([name, limit]) =>
      limit === undefined ? [] : ["--resource-limit", `${name}=${limit}`],
    ),
    "--",
    ...ownArgv(`/${API_SOCKET}`, `/${LOG}`),
  ]
}

/** The command line of a Firecracker without a jail, with its socket in a directory (which ends with `/`). Pure. */
export function bareArgv(executable: string, id: string, directory: string, log: string): readonly string[] {
  return [executable, "--id", id, ...ownArgv(`${directory}${API_SOCKET}`, log)]
}

// --- internal ---

/** The log goes to a file of its own: on standard output is the guest's serial console. */
function ownArgv(socket: string, log: string): readonly string[] {
  return ["--api-sock", socket, "--log-path", log, "--level", LOG_LEVEL]
}
