import { type Link, listLinks } from "../../base/linux/links.ts"
import { type Route, withRoute } from "../../base/linux/rtnetlink.ts"
import { CARD } from "../../base/terms/address.ts"
import { asFailure, Failure, joinFailures } from "../../base/terms/failure.ts"
import { planPortRules, portTableName } from "../../host/bridge/portRules.ts"
import { forgetFlows } from "../../host/firewall/flows.ts"
import { removeBridge } from "../../host/network/bridge.ts"
import { CHECK_TABLE, guestAddresses, MARK, ownerOf, parseAlias, tableName } from "../../host/network/names.ts"
import { closeNamespace } from "../../host/network/namespace.ts"
import { applyRules, forgetTable, hasNft, listOwnTables } from "../../host/network/nft.ts"
import { restore } from "../../host/network/repair.ts"
import { needsRules, planRules, ruledLeases } from "../../host/network/rules.ts"
import { removeTap } from "../../host/network/tap.ts"
import { allTapHolders, type TapHolders, tapHolders } from "../../host/network/tapHolders.ts"
import { withNetworkLock } from "../../host/network/turn.ts"
import { type BridgeLease, freeBridgeLease, listBridgeLeases } from "../../store/state/bridgeLeases.ts"
import { freeLease, type Lease, leaseOf, listLeases } from "../../store/state/leases.ts"
import type { State } from "../../store/state/open.ts"
import { isUpIn, listRecordIds } from "../../store/state/records.ts"
import type { Leftover, Verdict } from "./leftover.ts"

/**
 * Replaces this owner's rules by those that its leases ask for: after somebody has flushed the ruleset, say. Returns
 * whether there are any. What fails keeps nothing else from it: then throws one failure of all that did.
 */
export function reapplyRules(state: State): boolean {
  return withNetworkLock(() => {
    const owner = ownerOf(state.where.state)
    const all = listLeases(state.db)
    const leases = ruledLeases(all)
    const bridged = listBridgeLeases(state.db)
    const opened = leases.filter(({ ports }) => ports.length > 0)
    const failures: Failure[] = []
    for (const work of [
      () => withRoute((route) => restore(route, { owner, leases: all, isUp: isUpIn(state.db) })),
      () => (bridged.length > 0 ? applyRules(planPortRules(owner, bridged)) : undefined),
      () => withRoute((route) => forgetFlows(route, { addresses: [], opened })),
    ])
      try {
        work()
      } catch (error) {
        failures.push(asFailure(error, "CHANGED"))
      }
    const [failure, ...others] = failures
    if (failure !== undefined) throw others.length === 0 ? failure : joinFailures("the network", failures)
    return leases.length + bridged.length > 0
  })
}

/** Everything of the network with banger's mark that no lease of this state directory names. Nothing is changed. */
export function findNetworkLeftovers(state: State): readonly Leftover[] {
  return withNetworkLock(() => findLeftovers(state))
}

/**
 * Removes a leftover that was found dead, if it is dead still, and proves it gone. Returns what became of it. Throws a
 * failure when it could not be removed.
 */
export function removeNetworkLeftover(state: State, leftover: Leftover): Leftover {
  return withNetworkLock(() => {
    const now = findLeftovers(state, leftover).find(
      ({ kind, name }) => kind === leftover.kind && name === leftover.name,
    )
    if (now === undefined) return { ...leftover, is: "removed", why: "it is gone already" }
    if (now.is !== "dead") return now
    withRoute((route) => remove(route, state, now))
    return { ...now, is: "removed" }
  })
}

/** What an interface is judged by. */
export interface LinkFacts {
  readonly owner: string
  readonly leases: readonly Pick<Lease, "bridge" | "link" | "vm">[]
  /** The names of all interfaces, where a VM's may have been renamed. */
  readonly names?: ReadonlySet<string>
  /** Of a bridge: the ports that stay. */
  readonly ports: readonly Link[]
  /** Who holds the tap of this name; of a pair of veths, the one in the namespace behind it. */
  readonly holdersOf?: (name: string) => TapHolders
}

/** What an interface is, if it bears banger's mark and no lease names it; else undefined. Pure but for `holdersOf`. */
export function judgeLink(
  { name, kind, alias, group, carrier }: Link,
  { owner, leases, names, ports, holdersOf = tapHolders }: LinkFacts,
): Leftover | undefined {
  const mark = parseAlias(alias)
  const marked = mark !== undefined || (alias === undefined && group === MARK && name.startsWith("bgr"))
  if (!marked || (kind !== "tun" && kind !== "veth" && kind !== "bridge")) return undefined
  const as = kind === "tun" ? "tap" : kind
  const leftover = (verdict: Verdict): Leftover => ({ kind: as, name, vm: mark?.vm, ...verdict })
  if (mark !== undefined && mark.owner !== owner)
    return leftover({ is: "kept", why: `it belongs to the banger whose state is in ${mark.owner}` })
  const lease = leases.find((one) => (as === "bridge" ? one.bridge : one.link) === name)
  if (lease !== undefined) return undefined
  // Somebody has renamed it: the name that it is to have is nobody's.
  if (as !== "bridge" && leases.some(({ vm, link }) => vm === mark?.vm && names?.has(link) === false)) return undefined
  if (as !== "bridge") return leftover(judgeTap(as === "tap" && carrier, holdersOf(name)))
  const [port] = ports
  return leftover(
    port === undefined ? { is: "dead", why: "no VM is on it" } : { is: "kept", why: `it has the port ${port.name}` },
  )
}

// --- internal ---

/** A pair of veths has no carrier, so nothing tells whether a process that we cannot see is behind it. */
function judgeTap(held: boolean, { pids, unreadable }: TapHolders): Verdict {
  if (pids.length > 0) return { is: "kept", why: `process ${pids.join(", ")} holds it` }
  if (!held) return { is: "dead", why: "no VM has it, and no process holds it" }
  const why = unreadable > 0 ? `${unreadable} processes do not let their descriptors be seen` : "it cannot be found"
  return { is: "unknown", why: `some process holds it: ${why}` }
}

/** `about`: the one that matters; what does not bear on it is not examined then. The caller holds the network's lock. */
function findLeftovers(state: State, about?: Leftover): readonly Leftover[] {
  const owner = ownerOf(state.where.state)
  // In this order: a VM has its record before its lease, and its lease before its interface, which is made under the lock.
  const [own, bridged] = [listLeases(state.db), listBridgeLeases(state.db)]
  const known = listRecordIds(state.db)
  const ofVm = ({ vm }: Pick<Lease, "vm">) => known.has(vm)
  const [ownOfVms, bridgedOfVms] = [own.filter(ofVm), bridged.filter(ofVm)]
  const leases = [...ownOfVms, ...bridgedOfVms]
  const orphans = [...own, ...bridged].filter((lease) => !ofVm(lease))
  const links = withRoute(listLinks)
  let holders: ReturnType<typeof allTapHolders> | undefined
  const holdersOf = (name: string) => {
    holders ??= allTapHolders()
    return holders(name)
  }
  const names = new Set(links.map(({ name }) => name))
  const relevant = ({ name }: Link) =>
    about === undefined || name === about.name || about.kind === "lease" || about.kind === "table"
  const found = links.filter(relevant).flatMap((link) => {
    const ports = links.filter(
      ({ master, name }) => master === link.index && !orphans.some((lease) => lease.link === name),
    )
    const facts = { owner, leases, holdersOf, names }
    const staying = ports.filter((port) => judgeLink(port, { ...facts, ports: [] })?.is !== "dead")
    return judgeLink(link, { ...facts, ports: staying }) ?? []
  })
  const judged = orphans.map((lease) => judgeLease(lease, found))
  // A VM that lost its record may live: its rules are what holds it.
  const lives = (lease: Lease | BridgeLease) => ofVm(lease) || judged[orphans.indexOf(lease)]?.is !== "dead"
  return [
    // In the order they can be removed in: a bridge has no ports then.
    ...found.filter(({ kind }) => kind !== "bridge"),
    ...found.filter(({ kind }) => kind === "bridge"),
    ...deadTables(owner, {
      own: own.some((lease) => lives(lease) && needsRules(lease)),
      ports: bridged.some(lives),
    }),
    ...judged,
  ]
}

function deadTables(owner: string, needed: { readonly own: boolean; readonly ports: boolean }): readonly Leftover[] {
  const tables = hasNft() ? listOwnTables() : []
  const dead = (name: string, why: string) => ({ kind: "table", name, is: "dead", why }) as const
  return tables.flatMap((name) => {
    if (name === tableName(owner) && !needed.own) return [dead(name, "no VM needs it")]
    if (name === portTableName(owner) && !needed.ports) return [dead(name, "no VM needs it")]
    // A check holds the lock that is held here.
    return name === CHECK_TABLE ? [dead(name, "a check was killed")] : []
  })
}

/** The address of a VM whose interface some process holds is not to become another's. */
function judgeLease({ vm, card, link }: Pick<Lease, "vm" | "card" | "link">, found: readonly Leftover[]): Leftover {
  const held = found.find(({ name, is }) => name === link && is !== "dead")
  const leftover = { kind: "lease", name: card === CARD ? vm : `${vm}:${card}`, vm } as const
  if (held !== undefined) return { ...leftover, is: held.is, why: `${link}: ${held.why}` }
  return { ...leftover, is: "dead", why: "there is no such VM" }
}

function remove(route: Route, state: State, { kind, name }: Leftover): void {
  const owner = ownerOf(state.where.state)
  if (kind === "lease") {
    const lease = leaseOf(listLeases(state.db), leaseNamed(name))
    if (lease !== undefined) forgetFlows(route, { addresses: guestAddresses(lease, owner), opened: [] })
    freeLease(state.db, leaseNamed(name))
    freeBridgeLease(state.db, leaseNamed(name))
  } else if (kind === "table") applyRules(withoutTable(name, owner))
  else if (kind === "tap") removeTap(route, name, { owner })
  else if (kind === "veth") closeNamespace(route, undefined, name, { owner, vm: undefined })
  else if (kind === "bridge") requirePortless(name, removeBridge(route, name, owner))
}

function withoutTable(name: string, owner: string): string {
  if (name === CHECK_TABLE) return forgetTable(name)
  return name === portTableName(owner) ? planPortRules(owner, []) : planRules(owner, [])
}

/** Whose the lease of a leftover's name is: an id has no colon. */
function leaseNamed(name: string): Pick<Lease, "vm" | "card"> {
  const [vm = "", card = CARD] = name.split(":")
  return { vm, card }
}

function requirePortless(name: string, port: string | undefined): void {
  if (port === undefined) return
  const hint = `take the port away, then: banger net rm ${name}`
  throw new Failure("NOT_RELEASED", `the bridge ${name} still has the port ${port}`, { subject: name, hint })
}
