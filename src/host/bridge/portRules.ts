import type { BridgeLease } from "../../store/state/bridgeLeases.ts"
import { portGroup, tableName } from "../network/names.ts"

/** The name of the nftables table (family bridge) with the rules of this owner's taps on bridges of the user's. */
export function portTableName(owner: string): string {
  return `${tableName(owner)}_ports`
}

/** Whether a table of some banger's is such a one. Pure. */
export function isPortTable(name: string): boolean {
  return name.endsWith("_ports")
}

/**
 * The rules of all of an owner's taps on bridges of the user's as one nft script, which replaces the old ones in one transaction;
 * without leases it only removes them. They judge frames that come in by these taps, and no other. A table of its own, since older
 * bangers replace theirs whole. Pure.
 */
export function planPortRules(owner: string, leases: readonly BridgeLease[]): string {
  const table = portTableName(owner)
  // Adding a table that exists is not an error; removing one that does not exist is.
  const clear = [`add table bridge ${table}`, `delete table bridge ${table}`]
  return `${[...clear, ...(leases.length === 0 ? [] : rules(owner, leases))].join("\n")}\n`
}

/** Whether a table, as nft prints it, has the rules of this tap. Pure. */
export function rulesCover(listing: string, { link, mac }: Pick<BridgeLease, "link" | "mac">): boolean {
  const words = listing.replace(/\s+/g, " ")
  return words.includes("iifname . ether saddr != @macs drop") && words.includes(`"${link}" . ${mac}`)
}

// --- internal ---

/** netfilter.org's priority of family bridge by number. */
const PRIORITY = { filter: -200 } as const

/** What bridges keep for themselves (IEEE 802.1Q): spanning tree, LACP, 802.1X, LLDP. */
const CONTROL = "ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00"

/** By what else bridges and switches speak to each other: MVRP, MMRP; CDP, VTP, PVST+. */
const SPEECH = [
  "ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:20",
  "ether daddr { 01:00:0c:cc:cc:cc, 01:00:0c:cc:cc:cd }",
] as const

function rules(owner: string, leases: readonly BridgeLease[]): readonly string[] {
  const table = portTableName(owner)
  const bound = leases.flatMap(({ link, address }) => (address === undefined ? [] : [{ link, address }]))
  const pairs = (of: (lease: BridgeLease) => string) => leases.map((lease) => `"${lease.link}" . ${of(lease)}`)
  return [
    `table bridge ${table} {`,
    ...set(
      "ports",
      "ifname",
      leases.map(({ link }) => `"${link}"`),
    ),
    ...set(
      "macs",
      "ifname . ether_addr",
      pairs(({ mac }) => mac),
    ),
    ...set(
      "bound",
      "ifname",
      bound.map(({ link }) => `"${link}"`),
    ),
    ...set(
      "own",
      "ifname . ipv4_addr",
      bound.map(({ link, address }) => `"${link}" . ${address}`),
    ),
    "chain guard {",
    `type filter hook prerouting priority ${PRIORITY.filter}; policy accept;`,
    // Of a guest's port that somebody has renamed nothing is let through.
    `meta iifgroup ${portGroup(owner, "users")} iifname != @ports drop`,
    "iifname != @ports accept",
    "iifname . ether saddr != @macs drop",
    // A tag would choose the VLAN, and hide from these rules what is behind it.
    "ether type { 8021q, 8021ad, 0x9100, 0x9200 } drop",
    ...[CONTROL, ...SPEECH].map((words) => `${words} drop`),
    "ether type arp iifname . arp saddr ether != @macs drop",
    "iifname != @bound accept",
    // An ARP probe has no sender address, nor has who asks for one by DHCP.
    "ether type arp arp saddr ip 0.0.0.0 accept",
    "ether type arp iifname . arp saddr ip != @own drop",
    "ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
    "ether type ip iifname . ip saddr != @own drop",
    // A length instead of a type: what is behind it (LLC/SNAP) could be of any address.
    "ether type < 0x0600 drop",
    "}",
    // A bridge that speaks spanning tree takes these frames without asking the chain above.
    "chain control {",
    `type filter hook input priority ${PRIORITY.filter}; policy accept;`,
    `iifname @ports ${CONTROL} drop`,
    "}",
    "}",
  ]
}

function set(name: string, type: string, elements: readonly string[]): readonly string[] {
  const content = elements.length === 0 ? [] : [`elements = { ${elements.join(", ")} };`]
  return [`set ${name} {`, `type ${type};`, ...content, "}"]
}
