import { type HostPath, hostPath, inJail, type JailPath, type Placed, withoutJail } from "../../base/terms/path.ts"
import type { Confinement } from "../vmm/vmm.ts"

/** The names of the API socket, and of the vsock's, in the VMM's root directory or its runtime directory. */
export const API_SOCKET = "api.sock"
export const VSOCK = "vsock.sock"

/** The names of Firecracker's own log, and of its metrics, in its jail. */
export const LOG = "firecracker.log"
export const METRICS = "metrics.json"

/** The log level without a setting. */
const LOG_LEVEL = "Warn"

/** What the jailer starts Firecracker with. */
export interface JailerLaunch {
  readonly jailer: string
  readonly executable: string
  readonly id: string
  /** The base of the jails, above the directory named after the executable. */
  readonly base: HostPath
  readonly confinement: Confinement
  readonly netns: string | undefined
  readonly pci: boolean
  /** By the jailer's names: `fsize` (bytes), `no-file`. */
  readonly limits?: Readonly<Record<string, number | undefined>> | undefined
}

/**
 * The command line of the jailer, in the foreground, and behind `--` Firecracker's own options. It is told of no cgroup: it is in
 * the VM's already, and would move itself there again, which takes as long as a move. Pure.
 */
export function jailerArgv(launch: JailerLaunch): readonly string[] {
  const { jailer, executable, id, base, confinement, netns, pci, limits = {} } = launch
  return [
    jailer,
    ...["--id", id, "--exec-file", executable],
    ...["--uid", String(confinement.uid), "--gid", String(confinement.gid)],
    ...["--chroot-base-dir", base],
    ...(netns === undefined ? [] : ["--netns", netns]),
    ...Object.entries(limits).flatMap(([name, limit]) =>
      limit === undefined ? [] : ["--resource-limit", `${name}=${limit}`],
    ),
    "--",
    ...ownArgv(inJail(confinement.root, API_SOCKET).jail, inJail(confinement.root, LOG).jail, pci),
  ]
}

/** What Firecracker is started with without a jail. */
export interface BareLaunch {
  readonly executable: string
  readonly id: string
  /** The directory for its sockets. */
  readonly runtime: HostPath
  readonly log: HostPath
  readonly pci: boolean
}

/** The command line of a Firecracker without a jail. Pure. */
export function bareArgv({ executable, id, runtime, log, pci }: BareLaunch): readonly string[] {
  const socket = socketOf(API_SOCKET, runtime, undefined).jail
  return [executable, "--id", id, ...ownArgv(socket, withoutJail(log).jail, pci)]
}

/** Where one of Firecracker's sockets is: in its jail's root, or in its runtime directory without a jail. Pure. */
export function socketOf(name: string, runtime: HostPath, root: HostPath | undefined): Placed {
  return root === undefined ? withoutJail(hostPath(`${runtime}/${name}`)) : inJail(root, name)
}

// --- internal ---

/** The log has a file of its own: standard output is the guest's serial console. */
function ownArgv(socket: JailPath, log: JailPath, pci: boolean): readonly string[] {
  return ["--api-sock", socket, "--log-path", log, "--level", LOG_LEVEL, ...(pci ? ["--enable-pci"] : [])]
}
