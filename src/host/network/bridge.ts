import { ignoring } from "../../base/linux/errors.ts"
import {
  addBridge,
  changeLink,
  deleteLink,
  findLink,
  findLinkAt,
  type Link,
  listLinks,
} from "../../base/linux/links.ts"
import { addAddress, listAddresses, uplinks } from "../../base/linux/routes.ts"
import type { Route } from "../../base/linux/rtnetlink.ts"
import {
  addressOf,
  bytesOf,
  formatAddress,
  formatSubnet,
  gatewayOf,
  ipv6Bytes,
  networkOf,
  type Subnet,
} from "../../base/terms/address.ts"
import { Failure } from "../../base/terms/failure.ts"
import { collision, firstCollision, knownNetworks } from "./collisions.ts"
import { bridgeMac, formatAlias, ipv6Network, MARK, parseAlias } from "./names.ts"
import { explained, stillThere, wentAway } from "./refusals.ts"
import { hardenInterface, writeSetting } from "./sysctl.ts"
import { reclaimTap } from "./tap.ts"

// The room network: the bridge, taps, namespaces and nftables rules of VMs, and what on this host stands in their way.
// The rule: an interface or table is changed only when it bears banger's mark and this owner's name; another's is left alone.

/** The bridge to make. */
export interface BridgePlan {
  readonly name: string
  readonly subnet: Subnet
  /** Whether it also gets an address of its unique local IPv6 network. */
  readonly ipv6: boolean
  readonly owner: string
  /** In bytes; undefined: what this host's way out carries, but not more than 1500. */
  readonly mtu: number | undefined
}

/** A bridge that is there. */
export interface BridgeMade {
  readonly index: number
  /** In bytes. */
  readonly mtu: number
}

/**
 * Makes a bridge with the subnet's first address, up, or finds it made. A bridge that a killed banger has left half made is
 * completed. Throws a failure, with nothing changed, when a bridge of this name is another's or has another subnet, or the subnet
 * collides with a network of the host. The caller holds the network's lock.
 */
export function ensureBridge(route: Route, plan: BridgePlan): BridgeMade {
  const { name, owner } = plan
  try {
    const found = findLink(route, name)
    if (found !== undefined && isComplete(route, found, plan)) {
      // VMs have taps of the MTU that there was: it may only fall.
      const mtu = plan.mtu ?? Math.min(found.mtu, wayOutMtu(route, plan))
      if (mtu !== found.mtu) changeLink(route, found.index, name, { mtu })
      return { index: found.index, mtu }
    }
    if (found !== undefined) requireOwnBridge(found, owner)
    requireFreeSubnet(route, plan, found?.index)
    if (found === undefined) addBridge(route, name, { mac: bridgeMac(owner, name), group: MARK })
    const link = found ?? findLink(route, name)
    if (link === undefined) throw wentAway(`the bridge ${name}`)
    const mtu = plan.mtu ?? wayOutMtu(route, plan)
    complete(route, link, { ...plan, mtu })
    return { index: link.index, mtu }
  } catch (error) {
    throw explained(error, `the bridge ${name} cannot be made`)
  }
}

/**
 * Removes a bridge of this owner, if there is one, and checks that it is gone. A bridge that still has a port stays, for
 * whoever added the port: then returns the port's name.
 */
export function removeBridge(route: Route, name: string, owner: string): string | undefined {
  // A bridge of this name that is another's means that ours is gone.
  const link = findOwnBridge(route, name, owner)
  if (link === undefined) return undefined
  const port = listLinks(route).find(({ master }) => master === link.index)
  if (port !== undefined) return port.name
  try {
    deleteLink(route, link.index, name)
  } catch (error) {
    throw explained(error, `the bridge ${name} cannot be removed`)
  }
  if (findLink(route, name)?.index === link.index) throw stillThere(`the bridge ${name}`, name)
  return undefined
}

/** The bridge of this name, if it is this owner's. */
export function findOwnBridge(route: Route, name: string, owner: string): Link | undefined {
  const link = findLink(route, name)
  return isOwnBridge(link, owner) ? link : undefined
}

/**
 * Lets, or stops letting, this host's own connections to 127.0.0.1 be forwarded to guests of this owner's bridge, if there
 * is one. This opens the opposite direction too, which rules must close: they are made before it, and removed after it.
 */
export function routeLoopback(route: Route, { name, owner }: Pick<BridgePlan, "name" | "owner">, on: boolean): void {
  if (findOwnBridge(route, name, owner) === undefined) return
  writeSetting(`ipv4/conf/${name}/route_localnet`, on ? "1" : "0")
}

// --- internal ---

/** Whether a link is a bridge with banger's mark, of whatever owner. Pure. */
function isMarkedBridge({ kind, alias, group }: Link): boolean {
  return kind === "bridge" && (parseAlias(alias)?.kind === "bridge" || (alias === undefined && group === MARK))
}

function isOwnBridge(link: Link | undefined, owner: string): link is Link {
  return link !== undefined && isMarkedBridge(link) && (parseAlias(link.alias)?.owner ?? owner) === owner
}

function requireOwnBridge(link: Link, owner: string): void {
  const { name, kind, alias } = link
  const detail = { hint: 'choose another name: network: { bridge: "bgr1" }', subject: name }
  if (kind !== "bridge")
    throw new Failure("IN_USE", `${name} is there, and is not a bridge (${kind ?? "a device"}): left alone`, detail)
  if (!isMarkedBridge(link)) {
    const who = alias === undefined ? "it has no alias of banger's" : `its alias is ${JSON.stringify(alias)}`
    throw new Failure("IN_USE", `the bridge ${name} is somebody else's (${who}): left alone`, detail)
  }
  const other = parseAlias(alias)
  if (other !== undefined && other.owner !== owner) {
    const message = `the bridge ${name} belongs to the banger whose state is in ${other.owner}: left alone`
    throw new Failure("IN_USE", message, detail)
  }
}

function isComplete(
  route: Route,
  { index, up, alias, kind }: Link,
  { name, owner, subnet, ipv6 }: BridgePlan,
): boolean {
  if (!up || kind !== "bridge" || alias !== formatAlias({ kind: "bridge", vm: undefined, owner })) return false
  const has = addressesOf(route, index)
  const [gateway] = has
  if (
    gateway === undefined ||
    (ipv6 && listAddresses(route, 6).every((one) => one.index !== index || one.address[0] !== 0xfd))
  )
    return false
  requireAddress(name, has, subnet)
  return true
}

function addressesOf(route: Route, index: number) {
  return listAddresses(route).filter((one) => one.index === index)
}

function requireAddress(name: string, has: ReturnType<typeof addressesOf>, subnet: Subnet): void {
  const wanted = `${formatAddress(gatewayOf(subnet))}/${subnet.prefix}`
  const texts = has.map(({ address, prefix }) => `${formatAddress(addressOf(address))}/${prefix}`)
  if (texts.includes(wanted)) return
  const [first] = has
  const other = first && formatSubnet({ base: networkOf(addressOf(first.address), first.prefix), prefix: first.prefix })
  const hint = `give network.subnet as ${other}, or choose another bridge: network: { bridge: "bgr1", subnet: "${formatSubnet(subnet)}" }`
  const message = `the bridge ${name} has the address ${texts.join(", ")}, not ${wanted}`
  throw new Failure("IN_USE", message, { hint, subject: name })
}

/** A tap that a dead VM of ours left may still have a route to the subnet: it is removed. */
function requireFreeSubnet(route: Route, { subnet, owner }: BridgePlan, own: number | undefined): void {
  for (;;) {
    const all = knownNetworks(route, own)
    const other = firstCollision(subnet, all)
    if (other === undefined) return
    if (other.link === undefined || !reclaimTap(route, other.link, owner)) throw collision(subnet, other, all)
  }
}

/** What each Ethernet carries. A guest that is told nothing takes it for granted. */
const MTU_BYTES = 1500
/** IPv6 needs this much (RFC 8200). */
const MTU_MIN_BYTES = { ipv4: 576, ipv6: 1280 } as const

/** What this host's ways out carry, all of them, but not more than 1500 bytes. */
function wayOutMtu(route: Route, { ipv6 }: Pick<BridgePlan, "ipv6">): number {
  const mtus = [...uplinks(route)].flatMap((index) => findLinkAt(route, { index, name: "a way out" })?.mtu ?? [])
  return Math.max(Math.min(MTU_BYTES, ...mtus), ipv6 ? MTU_MIN_BYTES.ipv6 : MTU_MIN_BYTES.ipv4)
}

function complete(
  route: Route,
  { index, name }: Link,
  { subnet, ipv6, owner, mtu }: BridgePlan & { readonly mtu: number },
): void {
  hardenInterface(name, ipv6)
  writeSetting(`ipv4/conf/${name}/rp_filter`, "1")
  const has = addressesOf(route, index)
  if (has.length > 0) requireAddress(name, has, subnet)
  else
    ignoring(["EEXIST"], () =>
      addAddress(route, { index, name }, { address: bytesOf(gatewayOf(subnet)), prefix: subnet.prefix }),
    )
  if (ipv6) {
    const address = ipv6Bytes(ipv6Network(owner, name), 1)
    ignoring(["EEXIST"], () => addAddress(route, { index, name }, { address, prefix: 64 }))
  }
  changeLink(route, index, name, { up: true, mtu, alias: formatAlias({ kind: "bridge", vm: undefined, owner }) })
}
