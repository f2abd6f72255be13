import { readFileSync } from "node:fs"
import * as v from "valibot"
import { findLinkAt } from "../../base/linux/links.ts"
import { uplinks } from "../../base/linux/routes.ts"
import type { Route } from "../../base/linux/rtnetlink.ts"
import { formatAddress, formatIpv6, gatewayOf, ipv6Bytes } from "../../base/terms/address.ts"
import { clash, hostSide, type Port } from "../../base/terms/ports.ts"
import { runSystem } from "../../store/files/programs.ts"
import type { Lease } from "../../store/state/leases.ts"
import { findBlockers, type Guest, type Look, RULESET, sayBlocker } from "../firewall/blockers.ts"
import { findForwards } from "../firewall/forwards.ts"
import { isOfBanger } from "../firewall/ruleset.ts"
import { ipv6Network } from "./names.ts"
import { hasNft, listTables } from "./nft.ts"
import { readSetting, writeSetting } from "./sysctl.ts"

/** Whether this host forwards IPv4 packets, and what to say about it. */
export interface Forwarding {
  readonly works: boolean
  readonly info: string | undefined
  readonly warnings: readonly string[]
}

/**
 * Whether this host forwards packets between its interfaces. IPv4 forwarding is switched on when it is `wanted`, and stays
 * on: others may have begun to rely on it. IPv6 forwarding is never switched on: a host that forwards ignores routers'
 * advertisements, and could lose its own way out.
 */
export function checkForwarding(wanted: boolean, ipv6: boolean): Forwarding {
  const off = readSetting("ipv4/ip_forward") === "0"
  if (off && wanted) writeSetting("ipv4/ip_forward", "1")
  const off6 = ipv6 && readSetting("ipv6/conf/all/forwarding") === "0"
  const only = "the guest reaches this host only"
  const how = "network: { forward: true } switches it on, or: sysctl -w net.ipv4.ip_forward=1"
  const how6 =
    "sysctl -w net.ipv6.conf.all.forwarding=1, and accept_ra=2 for the interface that this host's own router is on"
  return {
    works: !off || wanted,
    info: off && wanted ? "switched on net.ipv4.ip_forward, for all of this host; it stays on" : undefined,
    warnings: [
      ...(off && !wanted ? [`net.ipv4.ip_forward is off on this host: ${only} (${how})`] : []),
      ...(off6 ? [`net.ipv6.conf.all.forwarding is off on this host: by IPv6 ${only} (${how6})`] : []),
    ],
  }
}

/** What of a guest is looked at: where it is, and what of its network is wanted. */
export interface LookedAt extends Pick<Lease, "bridge" | "subnet" | "number" | "ports" | "ipv6"> {
  readonly owner: string
  /** Whether it is to reach the world through this host. */
  readonly out: boolean
}

/** A line about rules of others: `serious` when they keep a guest from what its network is for. */
export interface SaidOfRules {
  readonly text: string
  readonly serious: boolean
}

/** As `blockersHere`, of what a bridge carries from one of its ports to another: the host's rules judge that only with br_netfilter. */
export function carryingBlockersHere(bridge: string): readonly SaidOfRules[] {
  if (readSetting("bridge/bridge-nf-call-iptables") !== "1") return []
  const unknown = { address: "192.0.2.1", gateway: "192.0.2.2", family: "ip", ports: [] } as const
  const guest = { bridge, named: bridge, uplink: bridge, ...unknown }
  const found = (findBlockers(lookHere(), [guest]) ?? []).filter(({ ways }) => ways.includes("out"))
  return found.map((blocker) => ({
    text: `net.bridge.bridge-nf-call-iptables is on: ${sayBlocker(blocker)}`,
    serious: true,
  }))
}

/** Which other rules of this host refuse what a guest sends or is sent, in words, with the remedy. */
export function blockersHere(route: Route, looked: LookedAt, look = lookHere()): readonly SaidOfRules[] {
  return (findBlockers(look, guestsOf(route, looked)) ?? []).flatMap((blocker) => {
    const ways = blocker.ways.filter((way) => looked.out || way !== "out")
    if (ways.length === 0) return []
    return [{ text: sayBlocker({ ...blocker, ways }), serious: ways.includes("out") || ways.includes("in") }]
  })
}

/** Which of a guest's ports rules of other programs forward already, in words: one of both gets nothing. */
export function forwardedElsewhere(ports: readonly Port[], look = lookHere()): readonly string[] {
  if (ports.length === 0) return []
  const taken = findForwards(look)
  return ports.flatMap((port) => {
    const other = taken.find((one) => clash(port, { ...one, host: one.port }))
    const hint = "choose another port, or end what made that rule"
    return other === undefined
      ? []
      : [`the port ${hostSide(port)} is forwarded by the rules of others too (${other.by}): ${hint}`]
  })
}

/** Reads this host's rules; each list but once, however often it is asked for. */
export function lookHere(): Look {
  const known = new Map<string, ReturnType<Look["run"]>>()
  return {
    read: readHere,
    run(argv) {
      const words = argv.join(" ")
      if (!known.has(words)) known.set(words, words === RULESET.join(" ") ? rulesOfOthers() : runSystem(argv))
      return known.get(words)
    },
  }
}

// --- internal ---

function readHere(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1")
  } catch {
    // This kernel has no such file, or this user may not read it: then there is nothing to say.
    return undefined
  }
}

/** Of more tables than these nft lists all rules at once. */
const FEW_TABLES_COUNT = 16

const asked = v.object({ nftables: v.array(v.unknown()) })

/** As `nft -t -j list ruleset`, but banger's own tables: nft needs tenths of a second for the rules of a thousand VMs. */
function rulesOfOthers(): ReturnType<Look["run"]> {
  const others = listTables().filter(({ name }) => !isOfBanger(name))
  if (!hasNft() || others.length > FEW_TABLES_COUNT) return runSystem(RULESET)
  const said = others.map(({ family, name }) => runSystem(["nft", "-t", "-j", "list", "table", family, name]))
  // One that went away meanwhile, or is of another kind.
  if (said.some((one) => one?.exit !== 0)) return runSystem(RULESET)
  const listed = said.flatMap((one) => v.parse(asked, JSON.parse(one?.stdout ?? "")).nftables)
  return { exit: 0, stdout: JSON.stringify({ nftables: listed }) }
}

function guestsOf(route: Route, { bridge, subnet, number, ports, ipv6, owner }: LookedAt): readonly Guest[] {
  const [first] = uplinks(route)
  const uplink = first === undefined ? undefined : findLinkAt(route, { index: first, name: "the way out" })?.name
  const common = { bridge, named: bridge, uplink }
  const six = (at: number) => formatIpv6(ipv6Bytes(ipv6Network(owner, bridge), at))
  const address = formatAddress(subnet.base + number)
  const gateway = formatAddress(gatewayOf(subnet))
  return [
    { ...common, family: "ip", address, gateway, ports },
    ...(ipv6 ? [{ ...common, family: "ip6" as const, address: six(number), gateway: six(1), ports: [] }] : []),
  ]
}
