import { formatDuration, formatSize } from "../../base/terms/quantity.ts"
import { DEFAULT_BRIDGE, defaultSubnet, type NetworkSpec } from "../schema/network.ts"
import { isDisk, type Spec } from "../schema/vm.ts"

/** A console of a VM that root runs for a user may keep so many bytes. */
const CONSOLE_MAX_BYTES = 16 * 1024 * 1024

/** How long root may have to wait for a user's guest or hooks when it ends their VM, in milliseconds. */
const END_MAX_MS = 10 * 60_000

/** The time limits that an end waits for. */
const OF_AN_END = ["stop", "hook", "preStop", "postStop"] as const

/** The first port of the host that is no service's own by custom. */
const FIRST_USER_PORT = 1024

/** A setting that root does not grant to a user who asks by sudo. */
export interface RefusedSetting {
  readonly setting: string
  /** Why, and what to do instead. */
  readonly why: string
}

/**
 * What a VM of a user's may not have that root runs for them by sudo, the first of it: whatever would be a right over the host, over
 * other users or over their VMs. Undefined: nothing of it. What a spec says of its own guest is the user's to say. Pure.
 */
export function refusedSetting(spec: Spec): RefusedSetting | undefined {
  for (const rule of RULES) {
    const refused = rule(spec)
    if (refused !== undefined) return refused
  }
  return undefined
}

// --- internal ---

type Rule = (spec: Spec) => RefusedSetting | undefined

const ROOT = "only root itself may have it"

const RULES: readonly Rule[] = [
  ({ jail }) => (typeof jail === "object" ? refuse("jail", "banger chooses the uid: say jail: true") : undefined),
  ({ jail }) =>
    jail === false ? refuse("jail", "a VMM without a jail would run as root: leave network out") : undefined,
  ({ drives }) => {
    const index = drives.findIndex((drive) => isDisk(drive))
    return index === -1 ? undefined : refuse(`drives[${index}].persist`, `disks by name are root's: ${ROOT}`)
  },
  ({ drives }) => {
    const index = drives.findIndex(
      (drive) =>
        !isDisk(drive) &&
        (drive.write === "shared" || drive.stage === "link" || (drive.stage === "bind" && !drive.readonly)),
    )
    return index === -1
      ? undefined
      : refuse(`drives[${index}].stage`, "the file would be given to the jail: leave stage and write out for a copy")
  },
  ({ limits: { io } }) => (io === undefined ? undefined : refuse("limits.io", `it names devices of the host: ${ROOT}`)),
  ({ console: { limit } }) =>
    limit <= CONSOLE_MAX_BYTES
      ? undefined
      : refuse("console.limit", `at most ${formatSize(CONSOLE_MAX_BYTES)} of root's disk`),
  ({ timeouts }) => {
    const long = OF_AN_END.find((name) => (timeouts[name] ?? 0) > END_MAX_MS)
    const why = `root's own stop of the VM would wait for it: at most ${formatDuration(END_MAX_MS)}`
    return long === undefined ? undefined : refuse(`timeouts.${long}`, why)
  },
  ({ firecracker }) =>
    firecracker.vhost_user === undefined
      ? undefined
      : refuse("firecracker.vhost_user", `root would connect to a socket: ${ROOT}`),
  ({ firecracker }) =>
    firecracker.uffd === undefined ? undefined : refuse("firecracker.uffd", `root would connect to a socket: ${ROOT}`),
  ({ firecracker }) =>
    firecracker.resource_limit === undefined
      ? undefined
      : refuse("firecracker.resource_limit", `a limit of the host's: ${ROOT}`),
  ({ firecracker }) =>
    firecracker.machine?.huge_pages === "2M"
      ? refuse("firecracker.machine.huge_pages", `they are set aside by root: ${ROOT}`)
      : undefined,
  ({ network }) => (network === false ? undefined : refusedOf(network)),
]

function refusedOf(network: NetworkSpec): RefusedSetting | undefined {
  const { mode, bridge, subnet, isolate, nat, forward, ports, mac, mtu, address } = network
  const low = ports.find(({ host }) => host < FIRST_USER_PORT)
  if (low !== undefined)
    return refuse("network.ports", `port ${low.host} of the host is below ${FIRST_USER_PORT}: ${ROOT}`)
  if (mode === "user") return undefined
  if (bridge !== DEFAULT_BRIDGE)
    return refuse("network.bridge", `${bridge} may be others': the VM gets ${DEFAULT_BRIDGE}`)
  if (subnet !== defaultSubnet(DEFAULT_BRIDGE))
    return refuse("network.subnet", `it would be the subnet of every VM: ${ROOT}`)
  if (mtu !== undefined) return refuse("network.mtu", "it would be the bridge's, and of every VM there: leave it out")
  if (mac !== undefined) return refuse("network.mac", "it may be another guest's: leave it out")
  if (address !== undefined) return refuse("network.address", "it may be meant for another guest: leave it out")
  if (!isolate) return refuse("network.isolate", "guests of others could be reached: leave it out")
  if (!nat) return refuse("network.nat", "it would hold for the bridge, and the VMs of others: leave it out")
  if (forward) return refuse("network.forward", `it opens the host's other networks to the guest: ${ROOT}`)
  return undefined
}

function refuse(setting: string, why: string): RefusedSetting {
  return { setting, why }
}
