import { formatAddress, formatIpv6, ipv6Bytes } from "../../base/terms/address.ts"
import type { Port } from "../../base/terms/ports.ts"
import type { Lease } from "../../store/state/leases.ts"
import { ipv6Network, portGroup, tableName } from "./names.ts"

/** The leases that an owner's rules are made from: all on the bridges where one of them needs rules. Pure. */
export function ruledLeases(leases: readonly Lease[]): readonly Lease[] {
  const bridges = new Set(leases.filter(needsRules).map(({ bridge }) => bridge))
  return leases.filter(({ bridge }) => bridges.has(bridge))
}

/** Whether this lease needs rules. Pure. */
export function needsRules({ nat, isolate, ports }: Pick<Lease, "nat" | "isolate" | "ports">): boolean {
  return nat || isolate || ports.length > 0
}

/** Whether this host's own connections to 127.0.0.1 go to a guest of one of these leases. Pure. */
export function opensLoopback(leases: readonly Pick<Lease, "ports">[]): boolean {
  return leases.some(({ ports }) => ports.some(({ address = "127." }) => address.startsWith("127.")))
}

/**
 * All of an owner's rules as one nft script, which replaces the old ones in one transaction; without leases it only removes
 * them. Two tables share one name: `inet` is for what is routed and translated, `bridge` for what goes from one port of a
 * bridge to another. Pure.
 */
export function planRules(owner: string, leases: readonly Lease[]): string {
  const table = tableName(owner)
  // Adding a table that exists is not an error; removing one that does not exist is.
  const clear = ["inet", "bridge"].flatMap((family) => [
    `add table ${family} ${table}`,
    `delete table ${family} ${table}`,
  ])
  if (leases.length === 0) return lines(clear)
  return lines([...clear, ...routed(table, owner, leases), ...bridged(table, owner, leases)])
}

// --- internal ---

/**
 * Where clouds give a machine its credentials, and where their name servers answer: AWS, Google, Azure, Oracle and others
 * at link-local addresses, which routers must not forward (RFC 3927); Azure's wire server; Alibaba.
 */
const METADATA = "{ 169.254.0.0/16, 168.63.129.16, 100.100.100.200 }"
/** The same of AWS and Google by IPv6. */
const METADATA6 = "{ fd00:ec2::254, fd20:ce::254 }"

/** netfilter.org's priorities by number: `raw`, `dstnat`, `filter` and `srcnat` of family inet; `filter` of bridge. */
const PRIORITY = { raw: -300, dstnat: -100, filter: 0, srcnat: 100, bridgeFilter: -200 } as const

function routed(table: string, owner: string, leases: readonly Lease[]): readonly string[] {
  const bridges = [...new Set(leases.map(({ bridge }) => bridge))]
  const names = anyOf(bridges.map(quoted))
  const open = leases.filter(({ isolate }) => !isolate)
  const nat = leases.filter((lease) => lease.nat)
  const plain = leases.filter((lease) => !lease.nat)
  const v6 = (some: readonly Lease[]) => some.filter(({ ipv6 }) => ipv6)
  return [
    `table inet ${table} {`,
    ...set("open", "ipv4_addr", open.map(addressOf)),
    ...set(
      "open6",
      "ipv6_addr",
      v6(open).map((lease) => ipv6Of(owner, lease)),
    ),
    ...set("plain", "ipv4_addr", plain.map(addressOf)),
    ...set(
      "plain6",
      "ipv6_addr",
      v6(plain).map((lease) => ipv6Of(owner, lease)),
    ),
    "chain early {",
    `type filter hook prerouting priority ${PRIORITY.raw}; policy accept;`,
    // The bridge lets this host's own connections to 127.0.0.1 out to guests, but never a guest's in to this host.
    `iifname ${names} ip daddr 127.0.0.0/8 drop`,
    ...["udp", "tcp"].map((protocol) => `iifname ${names} ip daddr ${METADATA} ${protocol} dport 53 accept`),
    `iifname ${names} ip daddr ${METADATA} drop`,
    `iifname ${names} ip6 daddr ${METADATA6} drop`,
    "}",
    "chain forward {",
    `type filter hook forward priority ${PRIORITY.filter}; policy accept;`,
    `iifname != ${names} oifname != ${names} accept`,
    // What a connection's ends send fits through all that this host knows of the way, whatever becomes of "fragmentation needed".
    "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu",
    ...bridges.flatMap((name) => [
      `iifname "${name}" oifname "${name}" ip saddr @open ip daddr @open accept`,
      `iifname "${name}" oifname "${name}" ip6 saddr @open6 ip6 daddr @open6 accept`,
      // With br_netfilter, frames that are only bridged pass here too: those without an IP address are not ours to judge.
      `iifname "${name}" oifname "${name}" meta protocol { ip, ip6 } drop`,
    ]),
    `oifname ${names} ct state established,related accept`,
    `oifname ${names} ct status dnat accept`,
    `iifname != ${names} ip daddr @plain accept`,
    `iifname != ${names} ip6 daddr @plain6 accept`,
    `oifname ${names} drop`,
    "}",
    "chain inward {",
    `type nat hook prerouting priority ${PRIORITY.dstnat}; policy accept;`,
    // A neighbour can send to 127.0.0.1 too; the kernel would refuse that only after it was forwarded.
    "ip daddr 127.0.0.0/8 accept",
    ...leases.flatMap((lease) => lease.ports.map((port) => portRule(port, addressOf(lease)))),
    "}",
    "chain inward_from_here {",
    `type nat hook output priority ${PRIORITY.dstnat}; policy accept;`,
    ...leases.flatMap((lease) => lease.ports.map((port) => portRule(port, addressOf(lease)))),
    "}",
    "chain outward {",
    `type nat hook postrouting priority ${PRIORITY.srcnat}; policy accept;`,
    ...nat.map((lease) => `oifname != ${names} ip saddr ${addressOf(lease)} masquerade`),
    ...v6(nat).map((lease) => `oifname != ${names} ip6 saddr ${ipv6Of(owner, lease)} masquerade`),
    // A guest could not answer 127.0.0.1.
    `oifname ${names} ip saddr 127.0.0.0/8 masquerade`,
    "}",
    "}",
  ]
}

/** A guest may send only with its own MAC and addresses, and only to the host, unless both ends are open to others. */
function bridged(table: string, owner: string, leases: readonly Lease[]): readonly string[] {
  const v6 = leases.filter(({ ipv6 }) => ipv6)
  const open = leases.filter(({ isolate }) => !isolate)
  return [
    `table bridge ${table} {`,
    ...set(
      "ports",
      "ifname",
      leases.map(({ link }) => quoted(link)),
    ),
    ...set(
      "open",
      "ifname",
      open.map(({ link }) => quoted(link)),
    ),
    ...set(
      "macs",
      "ifname . ether_addr",
      leases.map(({ link, mac }) => `"${link}" . ${mac}`),
    ),
    ...set(
      "own",
      "ifname . ipv4_addr",
      leases.map((lease) => `"${lease.link}" . ${addressOf(lease)}`),
    ),
    ...set(
      "own6",
      "ifname . ipv6_addr",
      v6.map((lease) => `"${lease.link}" . ${ipv6Of(owner, lease)}`),
    ),
    ...set(
      "six",
      "ifname",
      v6.map(({ link }) => quoted(link)),
    ),
    "chain guard {",
    `type filter hook prerouting priority ${PRIORITY.bridgeFilter}; policy accept;`,
    // Of a guest's port that no rule knows, by whatever name it goes, nothing is let through.
    `meta iifgroup ${portGroup(owner, "own")} iifname != @ports drop`,
    "iifname != @ports accept",
    "iifname . ether saddr != @macs drop",
    "ether type ip iifname . ip saddr @own accept",
    // An ARP probe has no sender address.
    "ether type arp arp saddr ip 0.0.0.0 accept",
    "ether type arp iifname . arp saddr ip @own accept",
    ...(v6.length === 0
      ? []
      : [
          "ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } drop",
          ...v6.map((lease) => adverts(lease.link, ipv6Bytes(ipv6Network(owner, lease.bridge), lease.number))),
          "ether type ip6 iifname . ip6 saddr @own6 accept",
          "ether type ip6 iifname @six ip6 saddr { ::, fe80::/10 } accept",
        ]),
    "drop",
    "}",
    "chain between {",
    `type filter hook forward priority ${PRIORITY.bridgeFilter}; policy accept;`,
    "iifname @open oifname @open accept",
    "iifname @ports drop",
    "oifname @ports drop",
    "}",
    "}",
  ]
}

/** A guest may advertise only its own address, or a link-local one (RFC 4861: the target follows eight bytes). */
function adverts(link: string, own: Uint8Array): string {
  const target = `@th,64,128 != 0x${Buffer.from(own).toString("hex")}`
  return `iifname "${link}" icmpv6 type nd-neighbor-advert @th,64,16 & 0xffc0 != 0xfe80 ${target} drop`
}

function portRule({ address, protocol, host, guest }: Port, to: string): string {
  const where = address === undefined ? "fib daddr type local" : `ip daddr ${address}`
  return `meta nfproto ipv4 ${where} ${protocol} dport ${host} dnat ip to ${to}:${guest}`
}

function set(name: string, type: string, elements: readonly string[]): readonly string[] {
  const content = elements.length === 0 ? [] : [`elements = { ${elements.join(", ")} };`]
  return [`set ${name} {`, `type ${type};`, ...content, "}"]
}

function addressOf({ subnet, number }: Lease): string {
  return formatAddress(subnet.base + number)
}

function ipv6Of(owner: string, { bridge, number }: Lease): string {
  return formatIpv6(ipv6Bytes(ipv6Network(owner, bridge), number))
}

function anyOf(elements: readonly string[]): string {
  return `{ ${elements.join(", ")} }`
}

function quoted(name: string): string {
  return `"${name}"`
}

function lines(all: readonly string[]): string {
  return `${all.join("\n")}\n`
}
