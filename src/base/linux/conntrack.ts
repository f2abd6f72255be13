import { readFileSync } from "node:fs"
import { AF } from "./constants.ts"
import { ignoring, unlessAbsent } from "./errors.ts"
import { behindHeader, netfilterHeader, withNetfilter } from "./netfilter.ts"
import { attribute, joined, type Message, NLM_F, nested, parseAttributes, u32Attribute, u32Of } from "./netlink.ts"
import type { Ask } from "./netlinkSocket.ts"

/** One direction of a tracked flow. */
export interface FlowTuple {
  readonly source: Uint8Array
  readonly destination: Uint8Array
  /** By its number (IANA): 1 ICMP, 6 TCP, 17 UDP, 58 ICMPv6. */
  readonly protocol: number
  /** Undefined where the protocol has no ports. */
  readonly destinationPort: number | undefined
}

/** A flow that connection tracking remembers, and what tells the kernel which one it is. */
export interface Flow {
  /** From the one who began it. */
  readonly original: FlowTuple
  /** What answers are expected to look like: the other way round, with what NAT has changed. */
  readonly reply: FlowTuple
  /** Bits of `enum ip_conntrack_status`. */
  readonly status: number
  readonly key: FlowKey
}

/** A flow's identity: its family, and attributes as the kernel told them. */
export interface FlowKey {
  readonly family: number
  readonly attributes: readonly Uint8Array[]
}

/** Which flows: those with this address at an end, or those that were sent to a port. */
export type FlowFilter =
  | { readonly direction: "original" | "reply"; readonly end: "source" | "destination"; readonly address: Uint8Array }
  | { readonly protocol: number; readonly destinationPort: number }

/** Of `enum ip_conntrack_status` (linux/netfilter/nf_conntrack_common.h): seen both ways for longer; its destination was changed. */
export const FLOW_STATUS = { ASSURED: 4, DST_NAT: 0x20 } as const

/** A connection to the connection tracking of the network namespace it was opened in. */
export interface Tracking {
  /** The flows that pass one of the filters, each once. */
  list(filters: readonly FlowFilter[]): readonly Flow[]
  /** Forgets a flow. One that has gone is fine. */
  forget(flow: Flow): void
}

/** Runs `use` with a connection to this thread's network namespace (NETLINK_NETFILTER, linux/netfilter/nfnetlink_conntrack.h). */
export function withTracking<T>(use: (tracking: Tracking) => T): T {
  return withNetfilter((ask) => use({ list: (filters) => list(ask, filters), forget: ({ key }) => forget(ask, key) }))
}

/** Throws a system error where the kernel cannot be asked for the flows that it tracks, nor told to forget one. Changes nothing. */
export function requireTracking(): void {
  const body = filterBody({ direction: "original", end: "source", address: new Uint8Array(4) })
  withNetfilter((ask) => ask({ name: "CT_GET", type: IPCTNL.GET, flags: NLM_F.DUMP, body, subject: "tracked flows" }))
}

/** Whether a flow passes one of some filters, however many they are. Pure. */
export function anyOf(filters: readonly FlowFilter[]): (flow: Pick<Flow, "original" | "reply">) => boolean {
  const hex = (address: Uint8Array) => Buffer.from(address).toString("hex")
  const known = new Set(
    filters.map((filter) =>
      "address" in filter
        ? `${filter.direction} ${filter.end} ${hex(filter.address)}`
        : `${filter.protocol} ${filter.destinationPort}`,
    ),
  )
  const places = filters.flatMap((filter) => ("address" in filter ? [filter] : []))
  const asked = [...new Map(places.map(({ direction, end }) => [`${direction} ${end}`, { direction, end }])).values()]
  return (flow) =>
    known.has(`${flow.original.protocol} ${flow.original.destinationPort}`) ||
    asked.some(({ direction, end }) => known.has(`${direction} ${end} ${hex(flow[direction][end])}`))
}

/** The flow of a message of the kernel's; undefined for one that cannot be read. Pure. */
export function parseFlow({ body }: Pick<Message, "body">): Flow | undefined {
  const found = parseAttributes(behindHeader(body))
  const [original, reply] = [parseTuple(found.get(CTA.TUPLE_ORIG)), parseTuple(found.get(CTA.TUPLE_REPLY))]
  if (original === undefined || reply === undefined) return undefined
  const status = bigEndian(found.get(CTA.STATUS)) ?? 0
  // The whole of what names it: another one may have the same tuple by the time that it is deleted, but not the same id.
  const attributes = [CTA.TUPLE_ORIG, CTA.ZONE, CTA.ID].flatMap((type) => {
    const value = found.get(type)
    if (value === undefined) return []
    return [type === CTA.TUPLE_ORIG ? nested(type, value) : attribute(type, value)]
  })
  return { original, reply, status, key: { family: body[0] ?? 0, attributes } }
}

// --- internal ---

/** How many flows this network namespace tracks. Missing where the kernel tracks none, or /proc is not its own. */
const COUNT = "/proc/sys/net/netfilter/nf_conntrack_count"
/** NFNL_SUBSYS_CTNETLINK in the upper byte of a message's type. */
const SUBSYSTEM = 1 << 8
const IPCTNL = { GET: SUBSYSTEM | 1, DELETE: SUBSYSTEM | 2 }
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, STATUS: 3, ID: 12, ZONE: 18, FILTER: 25 } as const
const CTA_TUPLE = { IP: 1, PROTO: 2 } as const
const CTA_IP = { V4_SRC: 1, V4_DST: 2, V6_SRC: 3, V6_DST: 4 } as const
const CTA_PROTO = { NUM: 1, DST_PORT: 3 } as const
const CTA_FILTER = { ORIG_FLAGS: 1, REPLY_FLAGS: 2 } as const
/** Which fields of a tuple the kernel is to compare. */
const COMPARE = { SOURCE: 1, DESTINATION: 2, PROTOCOL: 8, DESTINATION_PORT: 32 } as const

/**
 * The kernel walks its whole table for each answer, which takes it milliseconds: few flows are looked through here, and so are all
 * for many filters.
 */
const FEW_FLOWS_COUNT = 4096
const FEW_FILTERS_COUNT = 16

function list(ask: Ask, filters: readonly FlowFilter[]): readonly Flow[] {
  const count = Number(unlessAbsent(() => readFileSync(COUNT, "latin1")) ?? Number.POSITIVE_INFINITY)
  if (count === 0 || filters.length === 0) return []
  const passesOne = anyOf(filters)
  const all = count <= FEW_FLOWS_COUNT || filters.length > FEW_FILTERS_COUNT
  const own = new Map<string, Flow>()
  const wants = (message: Message) => {
    const flow = parseFlow(message)
    return flow !== undefined && passesOne(flow)
  }
  for (const body of all ? [netfilterHeader(0)] : filters.map(filterBody)) {
    const answer = ask({ name: "CT_GET", type: IPCTNL.GET, flags: NLM_F.DUMP, body, subject: "tracked flows", wants })
    for (const flow of answer.flatMap((message) => parseFlow(message) ?? []))
      own.set(Buffer.from(joined(...flow.key.attributes)).toString("latin1"), flow)
  }
  return [...own.values()]
}

/** Since Linux 5.8 the kernel itself compares (CTA_FILTER), so that a table of a million flows is not copied. */
function filterBody(filter: FlowFilter): Uint8Array {
  return joined(netfilterHeader(familyOf(filter)), ...filterAttributes(filter))
}

function forget(ask: Ask, { family, attributes }: FlowKey): void {
  const body = joined(netfilterHeader(family), ...attributes)
  ignoring(["ENOENT"], () => ask({ name: "CT_DELETE", type: IPCTNL.DELETE, body, subject: "a tracked flow" }))
}

function filterAttributes(filter: FlowFilter): readonly Uint8Array[] {
  if (!("address" in filter)) {
    const protocol = nested(
      CTA_TUPLE.PROTO,
      attribute(CTA_PROTO.NUM, Uint8Array.of(filter.protocol)),
      attribute(CTA_PROTO.DST_PORT, Uint8Array.of(filter.destinationPort >>> 8, filter.destinationPort & 0xff)),
    )
    return [nested(CTA.TUPLE_ORIG, protocol), flags("original", COMPARE.PROTOCOL | COMPARE.DESTINATION_PORT)]
  }
  const { direction, end, address } = filter
  const [four, six] = end === "source" ? [CTA_IP.V4_SRC, CTA_IP.V6_SRC] : [CTA_IP.V4_DST, CTA_IP.V6_DST]
  const ip = nested(CTA_TUPLE.IP, attribute(address.length === 4 ? four : six, address))
  const tuple = direction === "original" ? CTA.TUPLE_ORIG : CTA.TUPLE_REPLY
  return [nested(tuple, ip), flags(direction, end === "source" ? COMPARE.SOURCE : COMPARE.DESTINATION)]
}

function flags(direction: "original" | "reply", bits: number): Uint8Array {
  const [original, reply] = direction === "original" ? [bits, 0] : [0, bits]
  return nested(CTA.FILTER, u32Attribute(CTA_FILTER.ORIG_FLAGS, original), u32Attribute(CTA_FILTER.REPLY_FLAGS, reply))
}

function familyOf(filter: FlowFilter): number {
  return "address" in filter && filter.address.length === 16 ? AF.INET6 : AF.INET
}

function parseTuple(value: Uint8Array | undefined): FlowTuple | undefined {
  if (value === undefined) return undefined
  const parts = parseAttributes(value)
  const ip = parseAttributes(parts.get(CTA_TUPLE.IP) ?? new Uint8Array(0))
  const protocol = parseAttributes(parts.get(CTA_TUPLE.PROTO) ?? new Uint8Array(0))
  const source = ip.get(CTA_IP.V4_SRC) ?? ip.get(CTA_IP.V6_SRC)
  const destination = ip.get(CTA_IP.V4_DST) ?? ip.get(CTA_IP.V6_DST)
  const number = protocol.get(CTA_PROTO.NUM)?.[0]
  if (source === undefined || destination === undefined || number === undefined) return undefined
  const port = protocol.get(CTA_PROTO.DST_PORT)
  const destinationPort = port === undefined ? undefined : ((port[0] ?? 0) << 8) | (port[1] ?? 0)
  return { source, destination, protocol: number, destinationPort }
}

function bigEndian(value: Uint8Array | undefined): number | undefined {
  const little = u32Of(value?.slice(0, 4).reverse())
  return little
}
