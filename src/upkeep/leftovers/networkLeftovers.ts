import { type Link, listLinks } from "../../base/linux/links.ts"
import { type Route, withRoute } from "../../base/linux/rtnetlink.ts"
import { Failure } from "../../base/terms/failure.ts"
import { removeBridge } from "../../host/network/bridge.ts"
import { CHECK_TABLE, MARK, ownerOf, parseAlias, tableName } from "../../host/network/names.ts"
import { closeNamespace } from "../../host/network/namespace.ts"
import { applyRules, forgetTable, hasNft, listOwnTables } from "../../host/network/nft.ts"
import { needsRules, planRules, ruledLeases } from "../../host/network/rules.ts"
import { removeTap } from "../../host/network/tap.ts"
import { allTapHolders, type TapHolders, tapHolders } from "../../host/network/tapHolders.ts"
import { withNetworkLock } from "../../host/network/turn.ts"
import { freeLease, type Lease, listLeases } from "../../store/state/leases.ts"
import type { State } from "../../store/state/open.ts"
import { listRecordIds } from "../../store/state/records.ts"

/** Something of the network that bears banger's mark, or should not be there, and what is to become of it. */
export interface NetworkFinding {
  readonly kind: "tap" | "veth" | "bridge" | "table" | "lease"
  /** The interface's or table's name; the VM's id for a lease. */
  readonly name: string
  /** The VM it is for, where that is known. */
  readonly vm?: string | undefined
  readonly verdict: "remove" | "keep" | "unknown"
  readonly reason: string
}

/**
 * Replaces this owner's rules by those that its leases ask for: after somebody has flushed the ruleset, say. Returns
 * whether there are any.
 */
export function reapplyRules(state: State): boolean {
  return withNetworkLock(() => {
    const leases = ruledLeases(listLeases(state.db))
    if (leases.length > 0) applyRules(planRules(ownerOf(state.where.state), leases))
    return leases.length > 0
  })
}

/** Everything with banger's mark that no lease of this state directory names, with a verdict and its reason. */
export function unrecordedNetwork(state: State): readonly NetworkFinding[] {
  return withNetworkLock(() => look(state))
}

/**
 * Removes what was found, if the verdict about it is the same still, and proves it gone. Returns the finding as it is
 * now; its verdict is "remove" when it was removed.
 */
export function removeUnrecorded(state: State, finding: NetworkFinding): NetworkFinding {
  return withNetworkLock(() => {
    const now = look(state, finding).find(({ kind, name }) => kind === finding.kind && name === finding.name)
    if (now === undefined) return { ...finding, reason: "it is gone already" }
    if (now.verdict === "remove") withRoute((route) => remove(route, state, now))
    return now
  })
}

/**
 * What is to become of an interface. Pure but for who holds a tap: that of its name, which with a pair of veths is in the
 * namespace behind it.
 */
export function judgeLink(
  link: Link,
  owner: string,
  leases: readonly Lease[],
  ports: readonly Link[],
  holdersOf: (name: string) => TapHolders = tapHolders,
): NetworkFinding | undefined {
  const { name, kind, alias, group } = link
  if (!name.startsWith("bgr")) return undefined
  const mark = parseAlias(alias)
  const marked = mark !== undefined || (alias === undefined && group === MARK)
  if (!marked || (kind !== "tun" && kind !== "veth" && kind !== "bridge")) return undefined
  const as = kind === "tun" ? "tap" : kind
  const finding = (verdict: NetworkFinding["verdict"], reason: string) =>
    ({ kind: as, name, vm: mark?.vm, verdict, reason }) as const
  if (mark !== undefined && mark.owner !== owner)
    return finding("keep", `of the banger whose state is in ${mark.owner}`)
  const lease = leases.find((one) => (as === "bridge" ? one.bridge : one.link) === name)
  if (lease !== undefined) return undefined
  if (as === "bridge") {
    const [port] = ports
    return port === undefined ? finding("remove", "no VM is on it") : finding("keep", `it has the port ${port.name}`)
  }
  return judgeTap(as === "tap" && link.carrier, finding, holdersOf(name))
}

// --- internal ---

type Verdict = (verdict: NetworkFinding["verdict"], reason: string) => NetworkFinding

/** Of a pair of veths there is no carrier to tell whether somebody is behind it whom we cannot see. */
function judgeTap(held: boolean, finding: Verdict, { pids, unreadable }: TapHolders): NetworkFinding {
  if (pids.length > 0) return finding("keep", `process ${pids.join(", ")} holds it`)
  if (!held) return finding("remove", "no VM has it, and no process holds it")
  const why = unreadable > 0 ? `${unreadable} processes do not let their descriptors be seen` : "it cannot be found"
  return finding("unknown", `some process holds it: ${why}`)
}

/** `about`: the one that matters; what it does not depend on is not looked at then. */
function look(state: State, about?: NetworkFinding): readonly NetworkFinding[] {
  const owner = ownerOf(state.where.state)
  // In this order: a VM has its record before its lease, and its lease before its interface, which is made under the lock.
  const all = listLeases(state.db)
  const known = listRecordIds(state.db)
  const leases = all.filter(({ vm }) => known.has(vm))
  const orphans = all.filter(({ vm }) => !known.has(vm))
  const links = withRoute(listLinks)
  let holders: ReturnType<typeof allTapHolders> | undefined
  const holdersOf = (name: string) => {
    holders ??= allTapHolders()
    return holders(name)
  }
  const relevant = ({ name }: Link) => about === undefined || name === about.name || about.kind === "lease"
  const found = links.filter(relevant).flatMap((link) => {
    const ports = links.filter(
      ({ master, name }) => master === link.index && !orphans.some((lease) => lease.link === name),
    )
    const staying = ports.filter((port) => judgeLink(port, owner, leases, [], holdersOf)?.verdict !== "remove")
    return judgeLink(link, owner, leases, staying, holdersOf) ?? []
  })
  const table = tableName(owner)
  const tables = hasNft() ? listOwnTables() : []
  const stale = !leases.some(needsRules) && tables.includes(table)
  return [
    // In the order they can be removed in: a bridge has no ports then.
    ...found.filter(({ kind }) => kind !== "bridge"),
    ...found.filter(({ kind }) => kind === "bridge"),
    ...(stale ? [{ kind: "table", name: table, verdict: "remove", reason: "no VM needs it" } as const] : []),
    // Whoever checks holds the lock that is held here.
    ...(tables.includes(CHECK_TABLE)
      ? [{ kind: "table", name: CHECK_TABLE, verdict: "remove", reason: "a check was killed" } as const]
      : []),
    ...orphans.map((lease) => judgeLease(lease, found)),
  ]
}

/** The address of a VM whose interface some process holds is not to become another's. */
function judgeLease({ vm, link }: Lease, found: readonly NetworkFinding[]): NetworkFinding {
  const held = found.find(({ name, verdict }) => name === link && verdict !== "remove")
  const finding = { kind: "lease", name: vm, vm } as const
  if (held !== undefined) return { ...finding, verdict: held.verdict, reason: `${link}: ${held.reason}` }
  return { ...finding, verdict: "remove", reason: "there is no such VM" }
}

function remove(route: Route, state: State, { kind, name }: NetworkFinding): void {
  const owner = ownerOf(state.where.state)
  if (kind === "lease") freeLease(state.db, name)
  else if (kind === "table") applyRules(name === CHECK_TABLE ? forgetTable(name) : planRules(owner, []))
  else if (kind === "tap") removeTap(route, name, { owner })
  else if (kind === "veth") closeNamespace(route, undefined, name, { owner, vm: undefined })
  else if (kind === "bridge") requirePortless(name, removeBridge(route, name, owner))
}

function requirePortless(name: string, port: string | undefined): void {
  if (port !== undefined) throw new Failure("FAILED", `the bridge ${name} has the port ${port} still`)
}
