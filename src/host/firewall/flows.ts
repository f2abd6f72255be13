import {
  FLOW_STATUS,
  type Flow,
  type FlowFilter,
  type FlowTuple,
  type Tracking,
  withTracking,
} from "../../base/linux/conntrack.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { listAddresses } from "../../base/linux/routes.ts"
import type { Route } from "../../base/linux/rtnetlink.ts"
import { addressOf, formatAddress, networkOf } from "../../base/terms/address.ts"
import { messageOf } from "../../base/terms/failure.ts"
import type { Port } from "../../base/terms/ports.ts"
import type { Lease } from "../../store/state/leases.ts"

// Connection tracking remembers where a flow goes for as long as somebody sends in it, whatever became of the rule, or of the
// VM, that it was sent by: so what is remembered of an address goes when its VM ends, and once more before another one has it.

/** Of which guest, by all of its addresses, and of which ports of the host, flows are to be forgotten. */
export interface Forgotten {
  readonly addresses: readonly Uint8Array[]
  /** VMs whose ports of the host have just been opened: what was sent there before goes elsewhere. */
  readonly opened: readonly Opened[]
}

type Opened = Pick<Lease, "subnet" | "number" | "ports">

/**
 * Forgets all flows that begin or end at these addresses, and those that were sent to one of these ports of the host and do
 * not go to the VM that has it now. Returns why that cannot be done; undefined: it is done.
 */
export function forgetFlows(route: Route, { addresses, opened }: Forgotten): string | undefined {
  const filters = [...addresses.flatMap(endsAt), ...opened.flatMap(({ ports }) => ports.map(sentTo))]
  if (filters.length === 0) return undefined
  try {
    withTracking((tracking) => forget(tracking, filters, goesAstray(route, { addresses, opened })))
    return undefined
  } catch (error) {
    const why =
      "what this host's connection tracking remembers of its address cannot be deleted, and may reach the next VM"
    const lacks = ["EINVAL", "EOPNOTSUPP", "EPROTONOSUPPORT"].includes(errorCode(error) ?? "")
    return `${why}: ${messageOf(error)}${lacks ? " (modprobe nf_conntrack_netlink)" : ""}`
  }
}

/**
 * Whether a flow that was sent to a port of the host goes elsewhere than to the VM that has the port: to the host itself, or
 * to an address of the VM's subnet that was another's. A TCP connection that the host itself has there is left alone, and so
 * is what rules of others forward. Pure.
 */
export function missesPort(
  { original, reply, status }: Pick<Flow, "original" | "reply" | "status">,
  port: Port,
  { subnet, number, isLocal }: Omit<Opened, "ports"> & { readonly isLocal: (address: number) => boolean },
): boolean {
  if (!isSentTo(original, port, isLocal)) return false
  const goesTo = addressOf(reply.source)
  if (goesTo === subnet.base + number) return false
  if ((status & FLOW_STATUS.DST_NAT) !== 0) return networkOf(goesTo, subnet.prefix) === subnet.base
  return port.protocol === "udp" || (status & FLOW_STATUS.ASSURED) === 0
}

// --- internal ---

const PROTOCOL = { tcp: 6, udp: 17 } as const

/** One that the kernel keeps (before Linux 6.4: what a flow table of others carries) keeps no other one: the first error is thrown then. */
function forget(tracking: Tracking, filters: readonly FlowFilter[], isStale: (flow: Flow) => boolean): void {
  const errors: unknown[] = []
  for (const flow of tracking.list(filters).filter(isStale))
    try {
      tracking.forget(flow)
    } catch (error) {
      errors.push(error)
    }
  if (errors.length > 0) throw errors[0]
}

/** Whoever sends to a guest, or is sent something by it, by whatever address of this host, has its own one as a source. */
function endsAt(address: Uint8Array): readonly FlowFilter[] {
  return (["original", "reply"] as const).map((direction) => ({ direction, end: "source", address }))
}

function sentTo({ protocol, host }: Port): FlowFilter {
  return { protocol: PROTOCOL[protocol], destinationPort: host }
}

function goesAstray(route: Route, { addresses, opened }: Forgotten): (flow: Flow) => boolean {
  const own = opened.length === 0 ? [] : listAddresses(route).map(({ address }) => addressOf(address))
  const isLocal = (address: number) => address >>> 24 === 127 || own.includes(address)
  return (flow) => {
    const ends = [flow.original, flow.reply].flatMap(({ source, destination }) => [source, destination])
    if (ends.some((end) => addresses.some((address) => Buffer.compare(end, address) === 0))) return true
    return opened.some((vm) => vm.ports.some((port) => missesPort(flow, port, { ...vm, isLocal })))
  }
}

function isSentTo(
  { protocol, destination, destinationPort }: FlowTuple,
  { address, protocol: ofPort, host }: Port,
  isLocal: (address: number) => boolean,
): boolean {
  if (protocol !== PROTOCOL[ofPort] || destinationPort !== host || destination.length !== 4) return false
  const to = addressOf(destination)
  return address === undefined ? isLocal(to) : formatAddress(to) === address
}
