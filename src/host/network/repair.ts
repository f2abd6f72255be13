import { isolatePort, tiePort } from "../../base/linux/bridges.ts"
import { changeLink, type Link, listLinks } from "../../base/linux/links.ts"
import { listAddresses, listNeighbours, setNeighbour } from "../../base/linux/routes.ts"
import type { Route } from "../../base/linux/rtnetlink.ts"
import { addressOf, gatewayOf } from "../../base/terms/address.ts"
import { shellWords } from "../../base/terms/shell.ts"
import type { Lease } from "../../store/state/leases.ts"
import { ensureBridge, routeLoopback } from "./bridge.ts"
import { guestAddresses, parseAlias, portGroup, tableName } from "./names.ts"
import { applyRules, hasNft, tableText } from "./nft.ts"
import { needsRules, opensLoopback, planRules, ruledLeases } from "./rules.ts"
import { readSetting } from "./sysctl.ts"
import { findOwnLink } from "./tap.ts"

/** What of a VM's network is not as its lease says. */
export interface NetworkFault {
  readonly vm: string
  readonly what: string
  /** Whether it can be put back while the VM runs: its tap cannot. */
  readonly restorable: boolean
}

/** The networks that are looked at. */
export interface Networks {
  readonly owner: string
  /** All of the owner's. */
  readonly leases: readonly Lease[]
  /** Whether a VM is up: of one that is being started not all is there yet. */
  readonly isUp: (vm: string) => boolean
}

/** What others have taken away or changed of networks of VMs that are up: bridge, tap, neighbour entry, rules. Nothing is changed. */
export function findFaults(route: Route, { owner, leases, isUp }: Networks): readonly NetworkFault[] {
  const up = leases.filter(({ vm }) => isUp(vm))
  if (up.length === 0) return []
  const links = listLinks(route)
  const [addresses, neighbours] = [listAddresses(route), listNeighbours(route)]
  const ruled = ruledLeases(leases)
  const rules = ruled.some(needsRules) && hasNft() ? rulesOf(owner) : undefined
  return up.flatMap((lease) => {
    const { vm, bridge: name, link, subnet, mac } = lease
    const fault = (what: string, restorable = true): NetworkFault => ({ vm, what, restorable })
    const bridge = links.find((one) => one.name === name)
    const tap = ownLink(route, lease, { owner, leases })
    if (tap === undefined) return [fault(`its interface ${link} is gone`, false)]
    const has = addresses.some(
      ({ index, address }) => index === bridge?.index && addressOf(address) === gatewayOf(subnet),
    )
    const bound = guestAddresses(lease, owner).every((address) =>
      neighbours.some(
        (one) => one.index === bridge?.index && one.mac === mac && Buffer.compare(one.address, address) === 0,
      ),
    )
    const told = [
      ...(tap.name === link ? [] : [`its interface ${link} is called ${tap.name}`]),
      ...(tap.up ? [] : [`its interface ${tap.name} is down`]),
      ...(bridge === undefined ? [`the bridge ${name} is gone`] : bridge.up ? [] : [`the bridge ${name} is down`]),
      ...(bridge === undefined || tap.master === bridge.index
        ? []
        : [`its interface ${tap.name} is no port of ${name}`]),
      ...(bridge === undefined || has ? [] : [`the bridge ${name} has lost its address`]),
      ...(bridge === undefined || !has || bound ? [] : ["the host's neighbour entry of its address is gone"]),
      ...(rules === undefined || !ruled.includes(lease) || hasRules(rules, lease) ? [] : ["its rules are gone"]),
      ...(bridge === undefined ||
      !has ||
      !opensLoopback([lease]) ||
      readSetting(`ipv4/conf/${name}/route_localnet`) === "1"
        ? []
        : [`net.ipv4.conf.${name}.route_localnet is off, so its ports at 127.0.0.1 are shut`]),
    ]
    return told.map((what) => fault(what))
  })
}

/** What is a port of one of banger's bridges and none of a VM's. */
export interface StrangePort {
  readonly port: string
  readonly bridge: string
}

/**
 * The ports that others have put on these bridges of banger's, where those are there. They are never removed: whoever put them there has
 * a use for them.
 */
export function findStrangers(
  route: Route,
  bridges: ReadonlySet<string>,
  { owner, leases }: Pick<Networks, "owner" | "leases">,
): readonly StrangePort[] {
  if (bridges.size === 0) return []
  const links = listLinks(route)
  const own = new Set(leases.map(({ link }) => link))
  const isOwn = ({ name, alias }: Link) => own.has(name) || parseAlias(alias)?.owner === owner
  return links
    .filter(({ name }) => bridges.has(name))
    .flatMap(({ index, name: bridge }) =>
      links.filter((link) => link.master === index && !isOwn(link)).map(({ name: port }) => ({ port, bridge })),
    )
}

/** What such a port means, and what takes it off again. Pure. */
export function strangerWords({ port, bridge }: StrangePort): { readonly what: string; readonly hint: string } {
  const what = `${port} is a port of ${bridge} that is no VM's: it reaches the host there, and stands in the way when the bridge is to go`
  return { what, hint: `ip link set ${shellWords([port])} nomaster` }
}

/**
 * Puts the networks of VMs that are up back as their leases say; what is as it should be stays so. A tap that is gone is not made
 * anew: its VMM would not know of it. The caller holds the network's lock.
 */
export function restore(route: Route, { owner, leases, isUp }: Networks): void {
  const ruled = ruledLeases(leases)
  for (const lease of leases) {
    const tap = isUp(lease.vm) ? ownLink(route, lease, { owner, leases }) : undefined
    if (tap === undefined) continue
    const neighbours = leases.filter(({ bridge }) => bridge === lease.bridge)
    const ipv6 = neighbours.some((one) => one.ipv6)
    const mtu = neighbours.find((one) => one.mtu !== undefined)?.mtu
    const { index } = ensureBridge(route, { name: lease.bridge, subnet: lease.subnet, ipv6, owner, mtu })
    putBack(route, tap, { lease, owner, bridge: index, onlyMac: ruled.includes(lease) && !lease.netns })
    for (const address of guestAddresses(lease, owner)) setNeighbour(route, index, { address, mac: lease.mac })
  }
  if (ruled.length > 0) applyRules(planRules(owner, ruled))
  for (const name of new Set(leases.map(({ bridge }) => bridge)))
    if (opensLoopback(leases.filter(({ bridge }) => bridge === name))) routeLoopback(route, { name, owner }, true)
}

// --- internal ---

function ownLink(
  route: Route,
  { vm, card, link }: Lease,
  { owner, leases }: Pick<Networks, "owner" | "leases">,
): Link | undefined {
  const others = leases.filter((one) => one.vm === vm && one.card !== card).map((one) => one.link)
  return findOwnLink(route, link, { owner, vm, others })
}

function putBack(route: Route, tap: Link, { lease, owner, bridge, onlyMac }: PutBack): void {
  const { index } = tap
  const group = portGroup(owner, "own")
  const name = lease.link
  // The kernel renames no link that is up (before 6.2).
  if (tap.name !== name) changeLink(route, index, tap.name, { up: false, called: name })
  const moved = tap.master !== bridge
  if (moved || !tap.up || tap.name !== name)
    changeLink(route, index, name, { ...(moved ? { master: bridge } : {}), group, up: true })
  if (!moved) return
  if (lease.isolate) isolatePort(route, { index, name }, true)
  if (onlyMac) tiePort(route, { index, name }, lease.mac)
}

interface PutBack {
  readonly lease: Lease
  readonly owner: string
  readonly bridge: number
  readonly onlyMac: boolean
}

interface Rules {
  readonly inet: string
  /** With one space between words. */
  readonly bridge: string
}

function rulesOf(owner: string): Rules {
  const table = tableName(owner)
  return { inet: tableText(table, "inet"), bridge: tableText(table, "bridge").replace(/\s+/g, " ") }
}

function hasRules({ inet, bridge }: Rules, { link, mac, bridge: name }: Lease): boolean {
  return inet.includes(`"${name}"`) && bridge.includes(`"${link}" . ${mac}`)
}
