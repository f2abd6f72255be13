import { isolatePort, tiePort } from "../../base/linux/bridges.ts"
import { changeLink, type Link, listLinks } from "../../base/linux/links.ts"
import { listAddresses, listNeighbours, setNeighbour } from "../../base/linux/routes.ts"
import type { Route } from "../../base/linux/rtnetlink.ts"
import { addressOf, gatewayOf } from "../../base/terms/address.ts"
import { asFailure, Failure, joinFailures, messageOf } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"
import type { Lease } from "../../store/state/leases.ts"
import { rulesLackedBy } from "../firewall/wholeRules.ts"
import { ensureBridge, routeLoopback } from "./bridge.ts"
import { guestAddresses, MARK, marksVm, parseAlias, portGroup, tableName } from "./names.ts"
import { applyRules } from "./nft.ts"
import { opensLoopback, planRules, ruledLeases } from "./rules.ts"
import { readSetting } from "./sysctl.ts"
import { ownLinkAmong } from "./tap.ts"

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

/**
 * What others have taken away or changed of networks of VMs that are up: bridge, tap, neighbour entry, rules. Nothing is changed.
 * Throws a system error where the kernel does not tell.
 */
export function findFaults(route: Route, { owner, leases, isUp }: Networks): readonly NetworkFault[] {
  const up = leases.filter(({ vm }) => isUp(vm))
  if (up.length === 0) return []
  const ruled = ruledLeases(leases)
  const there = whatIsThere(route, { owner, leases })
  const made = { table: tableName(owner), script: planRules(owner, ruled) }
  const lacks = ruled.length === 0 ? () => undefined : rulesLackedBy(made)
  const isRuled = new Set(ruled)
  return up.flatMap((lease) => {
    const faults = faultsOf(lease, there)
    const rules =
      faults.length === 1 && faults[0]?.restorable === false ? undefined : isRuled.has(lease) && lacks(lease)
    return rules ? [...faults, { vm: lease.vm, what: rules, restorable: true }] : faults
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
 * anew: its VMM would not know of it. What cannot be put back keeps nothing else from it: then throws one failure of all that could
 * not. The caller holds the network's lock.
 */
export function restore(route: Route, { owner, leases, isUp }: Networks): void {
  const failures: Failure[] = []
  const attempt = (work: () => void) => {
    try {
      work()
      return true
    } catch (error) {
      failures.push(asFailure(error, "CHANGED"))
      return false
    }
  }
  const ruled = new Set(ruledLeases(leases))
  // First, since they hold the guests in bounds whatever becomes of the rest.
  const bound = ruled.size === 0 || attempt(() => applyRules(planRules(owner, [...ruled])))
  const there = whatIsThere(route, { owner, leases })
  for (const [name, own] of Map.groupBy(leases, ({ bridge }) => bridge)) {
    const taps = own.flatMap((lease) => {
      const tap = isUp(lease.vm) ? there.ownLink(lease) : undefined
      return tap === undefined ? [] : [{ lease, tap }]
    })
    const [first] = taps
    if (first === undefined) continue
    attempt(() => {
      const ipv6 = own.some((one) => one.ipv6)
      const mtu = own.find((one) => one.mtu !== undefined)?.mtu
      const { index } = ensureBridge(route, { name, subnet: first.lease.subnet, ipv6, owner, mtu })
      for (const { lease, tap } of taps)
        attempt(() => {
          for (const address of guestAddresses(lease, owner))
            if (there.boundTo(index, address) !== lease.mac) setNeighbour(route, index, { address, mac: lease.mac })
          putBack(route, tap, { lease, owner, bridge: index, onlyMac: ruled.has(lease) && !lease.netns })
        })
      if (bound && opensLoopback(own)) routeLoopback(route, { name, owner }, true)
    })
  }
  if (failures.length > 0) throw joinFailures("the networks of this banger", failures)
}

// --- internal ---

/** What this host has of networks, read once, whatever the number of VMs. */
interface There {
  readonly owner: string
  bridge(name: string): Link | undefined
  ownLink(lease: Lease): Link | undefined
  hasAddress(index: number, address: number): boolean
  /** The MAC that an address is bound to for good. */
  boundTo(index: number, address: Uint8Array): string | undefined
  routesLoopback(bridge: string): boolean
}

function whatIsThere(route: Route, { owner, leases }: Pick<Networks, "owner" | "leases">): There {
  const links = listLinks(route)
  const named = new Map(links.map((link) => [link.name, link]))
  const marked = Map.groupBy(links, ({ alias }) => parseAlias(alias)?.vm)
  const ofVm = Map.groupBy(leases, ({ vm }) => vm)
  const at = (index: number, address: Uint8Array) => `${index} ${address.toHex()}`
  const addresses = new Set(listAddresses(route).map(({ index, address }) => `${index} ${addressOf(address)}`))
  const neighbours = new Map(listNeighbours(route).map(({ index, address, mac }) => [at(index, address), mac]))
  const loopback = new Map<string, boolean>()
  return {
    owner,
    bridge: (name) => named.get(name),
    ownLink({ vm, card, link }) {
      const others = (ofVm.get(vm) ?? []).flatMap((one) => (one.card === card ? [] : [one.link]))
      const among = { named: named.get(link), marked: () => marked.get(vm) ?? [] }
      const found = ownLinkAmong(among, { owner, vm, others })
      return found !== undefined && isOf(found, { owner, vm }) ? found : undefined
    },
    hasAddress: (index, address) => addresses.has(`${index} ${address}`),
    boundTo: (index, address) => neighbours.get(at(index, address)),
    routesLoopback(bridge) {
      const known = loopback.get(bridge)
      if (known !== undefined) return known
      const is = readSetting(`ipv4/conf/${bridge}/route_localnet`) === "1"
      loopback.set(bridge, is)
      return is
    },
  }
}

/** Whether an interface is a VM's, by its mark; one that somebody took the alias from has its group still. */
function isOf({ alias, group }: Link, whose: { readonly owner: string; readonly vm: string }): boolean {
  return alias === undefined ? group === MARK || group === portGroup(whose.owner, "own") : marksVm(alias, whose)
}

function faultsOf(lease: Lease, there: There): readonly NetworkFault[] {
  const { vm, bridge: name, link, subnet, mac } = lease
  const fault = (what: string, restorable = true): NetworkFault => ({ vm, what, restorable })
  const tap = there.ownLink(lease)
  if (tap === undefined) return [fault(`its interface ${link} is gone`, false)]
  const told = [
    ...(tap.name === link ? [] : [`its interface ${link} is called ${tap.name}`]),
    ...(tap.up ? [] : [`its interface ${tap.name} is down`]),
  ]
  const bridge = there.bridge(name)
  if (bridge === undefined) return [...told, `the bridge ${name} is gone`].map((what) => fault(what))
  if (!bridge.up) told.push(`the bridge ${name} is down`)
  if (tap.master !== bridge.index) told.push(`its interface ${tap.name} is no port of ${name}`)
  if (!there.hasAddress(bridge.index, gatewayOf(subnet))) told.push(`the bridge ${name} has lost its address`)
  else {
    const bound = guestAddresses(lease, there.owner).every((one) => there.boundTo(bridge.index, one) === mac)
    if (!bound) told.push("the host's neighbour entry of its address is gone")
    if (opensLoopback([lease]) && !there.routesLoopback(name))
      told.push(`net.ipv4.conf.${name}.route_localnet is off, so its ports at 127.0.0.1 are shut`)
  }
  return told.map((what) => fault(what))
}

function putBack(route: Route, tap: Link, { lease, owner, bridge, onlyMac }: PutBack): void {
  const { index } = tap
  const group = portGroup(owner, "own")
  const name = lease.link
  if (tap.name !== name) rename(route, tap, name)
  const moved = tap.master !== bridge
  if (moved || !tap.up || tap.name !== name)
    changeLink(route, index, name, { ...(moved ? { master: bridge } : {}), group, up: true })
  if (!moved) return
  if (lease.isolate) isolatePort(route, { index, name }, true)
  if (onlyMac) tiePort(route, { index, name }, lease.mac)
}

/** In two requests: a kernel before 6.2 renames no link that is up, and renames before it takes one down (do_setlink()). */
function rename(route: Route, { index, name, up }: Link, called: string): void {
  changeLink(route, index, name, { up: false })
  try {
    changeLink(route, index, name, { called })
  } catch (error) {
    // As it was: behind another name no rule lets its guest send anything.
    if (up) changeLink(route, index, name, { up: true })
    const hint = `see whose the interface ${called} is (ip -d link show ${called}); once it is gone: banger net rm`
    const message = `the interface ${name} cannot be named ${called} again: ${messageOf(error)}`
    throw new Failure("IN_USE", message, { hint, subject: name, cause: error })
  }
}

interface PutBack {
  readonly lease: Lease
  readonly owner: string
  readonly bridge: number
  readonly onlyMac: boolean
}
