import type { Database } from "bun:sqlite"
import { dirname, join } from "node:path"
import type { VmNetwork } from "banger"
import { bootId } from "../base/linux/bootId.ts"
import { deleteNeighbour, listAddresses, setNeighbour } from "../base/linux/routes.ts"
import { type Route, withRoute } from "../base/linux/rtnetlink.ts"
import {
  addressOf,
  CARD,
  formatAddress,
  formatIpv6,
  gatewayOf,
  ipv6Bytes,
  parseAddress,
  parseSubnet,
  type Subnet,
} from "../base/terms/address.ts"
import { asFailure, Failure, joinFailures, messageOf } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import { clash, hostSide } from "../base/terms/ports.ts"
import { makePort, removePort } from "../host/bridge/port.ts"
import { isPortTable } from "../host/bridge/portRules.ts"
import { requireBridgeAndRules } from "../host/bridge/usersBridge.ts"
import { forgetFlows } from "../host/firewall/flows.ts"
import { ensureBridge, findOwnBridge, removeBridge, routeLoopback } from "../host/network/bridge.ts"
import {
  blockersHere,
  carryingBlockersHere,
  checkForwarding,
  forwardedElsewhere,
  type LookedAt,
  lookHere,
  type SaidOfRules,
} from "../host/network/forwarding.ts"
import { missingHere, parseForwards, portHolder } from "../host/network/listeners.ts"
import { cardMac, guestAddresses, ipv6Network, linkOf, ownerOf, tableName } from "../host/network/names.ts"
import { closeNamespace, openNamespace } from "../host/network/namespace.ts"
import { applyRules, hasNft, listOwnTables, listTable } from "../host/network/nft.ts"
import { opensLoopback, planRules, ruledLeases } from "../host/network/rules.ts"
import { makeTap, removeTap } from "../host/network/tap.ts"
import { inNetworkTurn, withNetworkLock } from "../host/network/turn.ts"
import { namespaceExists } from "../host/process/networkNamespace.ts"
import { ownNamespace } from "../host/process/procfs.ts"
import { isOwnBridge, type NetworkSpec } from "../inputs/schema/network.ts"
import {
  type BridgeLease,
  bridgeLeaseOf,
  freeBridgeLease,
  listBridgeLeases,
  takeBridgeLease,
} from "../store/state/bridgeLeases.ts"
import type { Resource } from "../store/state/handles.ts"
import { freeLease, type Lease, leaseOf, listLeases, requireFreePorts, takeLease } from "../store/state/leases.ts"
import type { VmLayout } from "../store/state/places.ts"
import type { Session } from "./session.ts"

/** A network of a VM, on its journal. */
export type NetworkResource = Extract<Resource, { kind: "network" }>

/**
 * Leases a network card's place in its network, until the VM's journal is released: an address, a MAC, the name of its
 * interface. The host is not changed yet. `card`: one that comes to a VM that runs; undefined: the plugin's own. Throws
 * IN_USE when a port is taken, and as `requireBridgeAndRules` does.
 */
export function leaseNetwork(
  session: Pick<Session, "id" | "db" | "journal" | "layout">,
  spec: NetworkSpec,
  card?: string,
): VmNetwork {
  for (const port of spec.ports) {
    const holder = portHolder(port)
    const hint = "choose another port, or end that process"
    if (holder !== undefined)
      throw new Failure("IN_USE", `the port ${hostSide(port)} of this host is taken by ${holder}`, {
        subject: hostSide(port),
        hint,
      })
  }
  const { id, db, journal, layout } = session
  if (spec.mode === "user") {
    requireFreePorts(spec, listLeases(db))
    if (spec.ports.length > 0 && process.geteuid?.() === 0 && hasNft()) requireUnforwarded(spec, ownerOfLayout(layout))
    return userNetwork(spec)
  }
  const users = isOwnBridge(spec.bridge) ? undefined : withRoute((route) => requireBridgeAndRules(route, spec))
  if (users !== undefined && spec.mtu !== undefined && spec.mtu > users.mtu) {
    const hint = `leave network.mtu out, or: ip link set ${spec.bridge} mtu ${spec.mtu}, and its ports before it`
    const message = `the bridge ${spec.bridge} carries ${users.mtu} bytes, not ${spec.mtu}`
    throw new Failure("BAD_PLUGIN", message, { subject: "network.mtu", hint })
  }
  const link = linkOf(
    id,
    networksOf(journal.resources).map((one) => one.link),
  )
  const here = { netns: spec.netns, bootId: bootId(), namespace: ownNamespace("net") ?? "" }
  journal.acquire({ kind: "network", link, ...here, ...(card === undefined ? {} : { card, plugging: true }) })
  const { bridge, ports, nat, isolate, ipv6, netns, address, vlan, mtu } = spec
  const of = { vm: id, card: card ?? CARD }
  const mac = spec.mac ?? cardMac(of)
  if (users !== undefined)
    return bridgedNetwork(takeBridgeLease(db, { ...of, bridge, address, mac, link, vlan, isolate, index: users.index }))
  const subnet = subnetOf(spec)
  const number = address === undefined ? undefined : (parseAddress(address) ?? 0) - subnet.base
  const request = { ...of, bridge, subnet, number, link, ports, nat, isolate, ipv6, netns, mac, mtu }
  return networkOf(takeLease(db, request), layout)
}

/**
 * Makes what a lease stands for: the bridge unless it is the user's, the card's tap on it (in a network namespace of the VM's own,
 * if the spec says so), and the rules. `user` may open the tap; root, when it is undefined. Warns of what keeps packets from being
 * forwarded. Returns what a frame of the card may carry, in bytes; undefined for the VMM's user mode.
 */
export async function connectNetwork(
  session: Pick<Session, "id" | "db" | "layout">,
  spec: NetworkSpec,
  {
    user = ROOT,
    card = CARD,
    log,
    interrupt,
  }: {
    readonly user: { readonly uid: number; readonly gid: number } | undefined
    readonly card?: string | undefined
    readonly log: Log
    readonly interrupt: AbortSignal
  },
): Promise<number | undefined> {
  sayWhatIsMissing(spec, log)
  if (spec.mode === "user") return undefined
  const { id, db, layout } = session
  const owner = ownerOfLayout(layout)
  if (!isOwnBridge(spec.bridge)) {
    const mtu = await inNetworkTurn(interrupt, () => {
      const leases = listBridgeLeases(db)
      const lease = bridgeLeaseOf(leases, { vm: id, card })
      if (lease === undefined) throw new Failure("BAD_STATE", `${id} has no lease on ${spec.bridge}`, { subject: id })
      return withRoute((route) => makePort(route, { lease, leases, owner, user, log }))
    })
    sayBlockers(log, () => carryingBlockersHere(spec.bridge))
    return spec.mtu ?? mtu
  }
  const mtu = await inNetworkTurn(interrupt, () => {
    const leases = listLeases(db)
    const lease = leaseOf(leases, { vm: id, card })
    if (lease === undefined) throw new Failure("BAD_STATE", `${id} has no lease of an address`, { subject: id })
    const ruled = ruledLeases(leases)
    requireUnforwarded(lease, owner)
    return withRoute((route) => {
      const neighbours = leases.filter((one) => one.bridge === lease.bridge)
      const ipv6 = neighbours.some((one) => one.ipv6)
      const wanted = neighbours.find((one) => one.mtu !== undefined)?.mtu
      const plan = { name: lease.bridge, subnet: lease.subnet, ipv6, owner, mtu: wanted }
      const { index: bridge, mtu } = ensureBridge(route, plan)
      const onlyMac = ruled.includes(lease) ? lease.mac : undefined
      const tap = { name: lease.link, vm: id, owner, user, bridge, isolated: lease.isolate, onlyMac, mtu }
      if (lease.netns) openNamespace(route, namespaceFile(layout), tap)
      else makeTap(route, tap)
      const addresses = guestAddresses(lease, owner)
      for (const address of addresses) setNeighbour(route, bridge, { address, mac: lease.mac })
      if (ruled.includes(lease)) applyRules(planRules(owner, ruled))
      // After the rules: what is sent before them is remembered without them.
      const unforgotten = forgetFlows(route, { addresses, opened: [lease] })
      if (unforgotten !== undefined) log.warn(unforgotten)
      if (opensLoopback([lease])) routeLoopback(route, { name: lease.bridge, owner }, true)
      return mtu
    })
  })
  const place = leaseOf(listLeases(db), { vm: id, card })
  if (place !== undefined) sayWhatIsInTheWay(spec, { ...place, owner, out: spec.nat || spec.forward }, log)
  return mtu
}

/** Of what a place in a network is released. */
export interface Releasing {
  readonly db: Database
  readonly layout: VmLayout
  readonly warn: (text: string) => void
}

/**
 * Releases a card's place in its network and all that was made for it, and the bridge when no other card is on it. What is
 * gone already is fine. Throws one failure of all that could not be proven gone; then the lease stays.
 */
export function releaseNetwork(resource: NetworkResource, releasing: Releasing): void {
  requireNamespace(resource, releasing.layout.id)
  withNetworkLock(() => release(resource, releasing))
}

/** As `releaseNetwork`, but this thread does other work while it waits for its turn. */
export async function disconnectNetwork(resource: NetworkResource, releasing: Releasing): Promise<void> {
  requireNamespace(resource, releasing.layout.id)
  await inNetworkTurn(new AbortController().signal, () => release(resource, releasing))
}

/**
 * Whether what was made for a card is in a network namespace that is not ours, and still exists, or may: from here nothing can be
 * told of it.
 */
export function isElsewhere({ bootId: boot, namespace }: NetworkResource): boolean {
  return boot === bootId() && namespace !== ownNamespace("net") && namespaceExists(namespace)
}

/** The networks on a journal: of the plugin's own card, and of those that were added. Pure. */
export function networksOf(resources: readonly Resource[]): readonly NetworkResource[] {
  return resources.filter((resource) => resource.kind === "network")
}

/** The place in its network of a VM that another process started. */
export function recallNetwork(
  { id, db, layout }: Pick<Session, "id" | "db" | "layout">,
  spec: false | NetworkSpec,
): VmNetwork | undefined {
  if (spec === false) return undefined
  if (spec.mode === "user") return userNetwork(spec)
  const of = { vm: id, card: CARD }
  if (!isOwnBridge(spec.bridge)) {
    const lease = bridgeLeaseOf(listBridgeLeases(db), of)
    return lease && bridgedNetwork(lease)
  }
  const lease = leaseOf(listLeases(db), of)
  return lease && networkOf(lease, layout)
}

/** The mark of the interfaces that belong to VMs of this state directory. */
export function ownerOfLayout({ jails }: Pick<VmLayout, "jails">): string {
  return ownerOf(dirname(jails))
}

/** A VM's place in its network, by its lease. */
export function networkOf(lease: Lease, layout: VmLayout): VmNetwork {
  const { bridge, subnet, number, mac, link, ports, ipv6, netns } = lease
  return {
    mode: "tap",
    address: formatAddress(subnet.base + number),
    prefix: subnet.prefix,
    gateway: formatAddress(gatewayOf(subnet)),
    mac,
    ipv6: ipv6 ? formatIpv6(ipv6Bytes(ipv6Network(ownerOfLayout(layout), bridge), number)) : undefined,
    interface: link,
    bridge,
    netns: netns ? namespaceFile(layout) : undefined,
    ports,
  }
}

/** A VM's place on a bridge of the user's, by its lease. Pure. */
export function bridgedNetwork({ bridge, address, mac, link }: Omit<BridgeLease, "index">): VmNetwork {
  const unknown = { prefix: undefined, gateway: undefined, ipv6: undefined }
  return { mode: "tap", address, mac, interface: link, bridge, netns: undefined, ports: [], ...unknown }
}

/** What QEMU's user-mode network gives to every guest by DHCP. */
export function userNetwork({ mac, ports }: NetworkSpec): VmNetwork {
  const none = { interface: undefined, bridge: undefined, netns: undefined, ipv6: undefined }
  return { mode: "user", address: "10.0.2.15", prefix: 24, gateway: "10.0.2.2", mac, ports, ...none }
}

/** The subnet of a network of banger's own, which its schema has checked. */
export function subnetOf({ subnet }: NetworkSpec): Subnet {
  const parsed = subnet === undefined ? undefined : parseSubnet(subnet)
  if (parsed === undefined) throw new Failure("BAD_PLUGIN", `${subnet} is no subnet`, { subject: "network.subnet" })
  return parsed
}

// --- internal ---

const ROOT = { uid: 0, gid: 0 }

/** The caller holds the network's lock. */
function release({ card = CARD, netns, link, bootId: boot }: NetworkResource, releasing: Releasing): void {
  const { db, layout, warn } = releasing
  const { id } = layout
  const owner = ownerOfLayout(layout)
  const bridged = listBridgeLeases(db)
  const port = bridgeLeaseOf(bridged, { vm: id, card })
  if (port !== undefined) {
    const others = bridged.filter((one) => one !== port)
    withRoute((route) => removePort(route, { lease: port, others, owner, warn, sameBoot: boot === bootId() }))
    freeBridgeLease(db, { vm: id, card })
    return
  }
  const leases = listLeases(db)
  const lease = leaseOf(leases, { vm: id, card })
  const others = leases.filter((one) => one !== lease)
  const failures: Failure[] = []
  const attempt = (work: () => void) => {
    try {
      work()
    } catch (error) {
      failures.push(asFailure(error, "NOT_RELEASED"))
    }
  }
  withRoute((route) => {
    attempt(() => {
      const names = [...others, ...bridged].filter((one) => one.vm === id).map((one) => one.link)
      const whose = { owner, vm: id, others: names }
      if (netns) closeNamespace(route, namespaceFile(layout), link, whose)
      else removeTap(route, link, whose)
    })
    if (lease === undefined) return
    attempt(() => forgetNeighbours(route, lease, owner))
    // While its interface may exist, the rules stay that keep the guest behind it in bounds.
    if (failures.length > 0) return
    const neighbours = others.filter(({ bridge }) => bridge === lease.bridge)
    attempt(() => {
      if (!opensLoopback(neighbours)) routeLoopback(route, { name: lease.bridge, owner }, false)
      if (ruledLeases(leases).includes(lease)) applyRules(planRules(owner, ruledLeases(others)))
      // After the rules: they would have the next packet remembered again.
      const unforgotten = forgetFlows(route, { addresses: guestAddresses(lease, owner), opened: [] })
      if (unforgotten !== undefined) warn(unforgotten)
    })
    if (neighbours.length > 0 || failures.length > 0) return
    attempt(() => {
      const port = removeBridge(route, lease.bridge, owner)
      if (port !== undefined) warn(`the bridge ${lease.bridge} stays: it has the port ${port}, which is not banger's`)
    })
  })
  if (failures.length > 0) throw joinFailures(id, failures)
  freeLease(db, { vm: id, card })
}

/** Throws IN_USE when a table of another state directory, whose leases are not ours, forwards one of the ports. */
function requireUnforwarded({ ports }: Pick<Lease, "ports">, owner: string): void {
  if (ports.length === 0) return
  const forwarding = listOwnTables().filter((name) => name !== tableName(owner) && !isPortTable(name))
  for (const table of forwarding) {
    const taken = parseForwards(listTable(table))
    const port = ports.find((own) => taken.some((other) => clash(own, other)))
    if (port === undefined) continue
    const hint = "choose another port, or stop that VM"
    throw new Failure(
      "IN_USE",
      `the port ${hostSide(port)} of this host goes to a VM of another banger, by the rules of the table inet ${table}`,
      { subject: hostSide(port), hint },
    )
  }
}

/** Advice only: an address may come up, a name server may be started. */
function sayWhatIsMissing({ ports, dns, subnet }: NetworkSpec, log: Log): void {
  const bridge = subnet === undefined ? undefined : parseSubnet(subnet)
  const addresses = withRoute(listAddresses).map(({ address }) => formatAddress(addressOf(address)))
  // The bridge may still have to be made.
  const own = [...addresses, ...(bridge === undefined ? [] : [formatAddress(gatewayOf(bridge))])]
  const answers = (address: string) => portHolder({ protocol: "udp", address, host: 53, guest: 53 }) !== undefined
  for (const text of missingHere({ ports, dns }, { own, answers })) log.warn(text)
}

/** Advice only: what cannot be found out does not keep a VM from running. */
function sayWhatIsInTheWay({ nat, ports, forward, ipv6 }: NetworkSpec, looked: LookedAt, log: Log): void {
  if (!nat && ports.length === 0 && !forward) return
  const { works, info, warnings } = checkForwarding(forward, ipv6)
  if (info !== undefined) log.info(info)
  for (const warning of warnings) log.warn(warning)
  const look = lookHere()
  if (works) sayBlockers(log, () => withRoute((route) => blockersHere(route, looked, look)))
  sayBlockers(log, () => forwardedElsewhere(ports, look).map((text) => ({ text, serious: true })))
}

function sayBlockers(log: Log, find: () => readonly SaidOfRules[]): void {
  try {
    for (const { text, serious } of find()) serious ? log.warn(text) : log.info(text)
  } catch (error) {
    log.debug(`the host's rules cannot be looked at: ${messageOf(error)}`)
  }
}

/** Throws NOT_RELEASED when nothing can be told of the VM's interfaces from here. */
function requireNamespace(network: NetworkResource, id: string): void {
  if (!isElsewhere(network)) return
  const hint = "do this in the network namespace (the container) that the VM was started in"
  const message = `cannot tell what is left of the network of ${id}: it is in another network namespace`
  throw new Failure("NOT_RELEASED", message, { subject: id, hint })
}

function namespaceFile({ runtime }: VmLayout): string {
  return join(runtime, "netns")
}

function forgetNeighbours(route: Route, lease: Lease, owner: string): void {
  const bridge = findOwnBridge(route, lease.bridge, owner)
  if (bridge === undefined) return
  for (const address of guestAddresses(lease, owner)) deleteNeighbour(route, bridge.index, address)
}
