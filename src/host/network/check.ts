import * as v from "valibot"
import { withDescriptor } from "../../base/linux/files.ts"
import { addVeth, changeLink, deleteLink, findLink } from "../../base/linux/links.ts"
import { inNetworkNamespace, newNetworkNamespace } from "../../base/linux/namespaces.ts"
import { answersPing } from "../../base/linux/ping.ts"
import { addAddress, addDefaultRoute, deleteNeighbour, listRoutes, setNeighbour } from "../../base/linux/routes.ts"
import { type Route, withRoute } from "../../base/linux/rtnetlink.ts"
import { addressOf, bytesOf, formatAddress, gatewayOf } from "../../base/terms/address.ts"
import type { Lease } from "../../store/state/leases.ts"
import { blockersHere } from "./forwarding.ts"
import { CHECK_TABLE, formatAlias, MARK } from "./names.ts"
import { applyRules, counters, forgetTable } from "./nft.ts"
import { wentAway } from "./refusals.ts"
import { hardenInterface } from "./sysctl.ts"

/** One step on a packet's way, and whether it came that far. */
export const stepSchema = v.strictObject({
  what: v.string(),
  ok: v.boolean(),
  /** Why not, and what to do. */
  why: v.optional(v.string()),
})
export type Step = Readonly<v.InferOutput<typeof stepSchema>>

/** How long to wait for an answer to a ping. */
const ANSWER_WAIT_MS = 1500

/** The network that a check is made in. */
export interface CheckedNetwork {
  /** The index of the bridge. */
  readonly bridge: number
  readonly owner: string
  /** The address to reach; undefined: the host's own router. */
  readonly target: number | undefined
}

/**
 * Plays a guest with this lease in a namespace that is thrown away: pings the bridge's address, then `target`, and counts
 * the packets on their way to see how far they came. The bridge and the rules are there already. What is made for the
 * check is removed again.
 */
export function checkPath(route: Route, lease: Lease, { bridge, owner, target }: CheckedNetwork): readonly Step[] {
  const to = target ?? defaultGateway(route)
  return withDescriptor(newNetworkNamespace(), (inner) => {
    addVeth(route, lease.link, { group: MARK, peer: UPLINK, peerNs: inner })
    const outside = findLink(route, lease.link)
    if (outside === undefined) throw wentAway(`the interface ${lease.link}`)
    try {
      hardenInterface(lease.link, false)
      const alias = formatAlias({ kind: "veth", vm: lease.vm, owner })
      changeLink(route, outside.index, lease.link, { alias, master: bridge, up: true })
      const mac = inNetworkNamespace(inner, () => withRoute((within) => settle(within, lease)))
      setNeighbour(route, bridge, { address: bytesOf(lease.subnet.base + lease.number), mac })
      const gateway = gatewayOf(lease.subnet)
      const ping = (address: number) => inNetworkNamespace(inner, () => answersPing(bytesOf(address), ANSWER_WAIT_MS))
      const reached = ping(gateway)
      const said = blockersHere(route, { ...lease, owner, out: true })
      const why = (serious: boolean) => said.flatMap((one) => (one.serious === serious ? [one.text] : [])).join("; ")
      const first = step(
        `a guest reaches the host at ${formatAddress(gateway)}`,
        reached,
        why(false) || "rules of this host drop what comes in by the bridge (nft list ruleset, hook input)",
      )
      // One that is kept from this host may reach the world all the same.
      if (!lease.nat) return [first]
      if (to === undefined) return [first, step("the host has a way out", false, "it has no default route")]
      const forward = why(true) || "a rule of another table drops them (nft list ruleset, hook forward)"
      return [first, ...followed(lease, { to, forward }, () => ping(to))]
    } finally {
      deleteNeighbour(route, bridge, bytesOf(lease.subnet.base + lease.number))
      deleteLink(route, outside.index, lease.link)
    }
  })
}

/** How far packets came, from the counters on their way. Pure. */
export function judge(
  count: Readonly<Record<string, number>>,
  { answered, to, forward }: { readonly answered: boolean; readonly to: string; readonly forward: string },
): readonly Step[] {
  const { arrived = 0, routed = 0, passed = 0, left = 0 } = count
  const steps = [
    step(
      "its packets come to the host's routing",
      arrived > 0,
      "the rules of bridges (nft list tables bridge, ebtables) drop them",
    ),
    step(
      `the host routes them to ${to}`,
      routed > 0,
      "net.ipv4.ip_forward is off, or there is no route: network: { forward: true }",
    ),
    step("the host's rules let them be forwarded", passed > 0, forward),
    step("they leave the host", left > 0, "a rule after routing drops them (nft list ruleset)"),
    step(`${to} answers`, answered, "the packets left this host; what is beyond does not answer, or not to ping"),
  ]
  const stopped = steps.findIndex(({ ok }) => !ok)
  return stopped === -1 ? steps : steps.slice(0, stopped + 1)
}

// --- internal ---

const UPLINK = "eth0"

function step(what: string, ok: boolean, why: string): Step {
  return { what, ok, why: ok ? undefined : why }
}

/** Gives the played guest its address, the MAC of its lease, and its default route. Returns the MAC. */
function settle(route: Route, lease: Lease): string {
  const [link, lo] = [findLink(route, UPLINK), findLink(route, "lo")]
  if (link === undefined || lo === undefined)
    throw wentAway(`an interface of the new network namespace (${UPLINK}, lo)`)
  changeLink(route, lo.index, "lo", { up: true })
  changeLink(route, link.index, UPLINK, { mac: lease.mac, up: true })
  addAddress(
    route,
    { index: link.index, name: UPLINK },
    { address: bytesOf(lease.subnet.base + lease.number), prefix: lease.subnet.prefix },
  )
  addDefaultRoute(route, link.index, bytesOf(gatewayOf(lease.subnet)))
  return lease.mac
}

function followed(
  lease: Lease,
  { to, forward }: { readonly to: number; readonly forward: string },
  ping: () => boolean,
): readonly Step[] {
  const packets = `ip saddr ${formatAddress(lease.subnet.base + lease.number)} ip daddr ${formatAddress(to)} icmp type echo-request`
  applyRules(countingRules(packets))
  try {
    const answered = ping()
    const count = counters(CHECK_TABLE)
    return judge(count, { answered, to: formatAddress(to), forward })
  } finally {
    applyRules(forgetTable(CHECK_TABLE))
  }
}

/** Counts packets before and after all other rules. */
function countingRules(packets: string): string {
  const places = [
    ["arrived", "filter", "prerouting", "-400"],
    ["routed", "filter", "forward", "-400"],
    ["passed", "filter", "forward", "400"],
    // Just before the source address is translated.
    ["left", "filter", "postrouting", "90"],
  ]
  const chains = places.map(
    ([name, type, hook, priority]) =>
      `counter ${name} { }\nchain count_${name} {\ntype ${type} hook ${hook} priority ${priority}; policy accept;\n${packets} counter name "${name}"\n}`,
  )
  return `${forgetTable(CHECK_TABLE)}table inet ${CHECK_TABLE} {\n${chains.join("\n")}\n}\n`
}

function defaultGateway(route: Route): number | undefined {
  const found = listRoutes(route).find(({ prefix, gateway }) => prefix === 0 && gateway !== undefined)
  return found?.gateway && addressOf(found.gateway)
}
