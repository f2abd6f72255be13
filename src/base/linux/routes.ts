import { AF } from "./constants.ts"
import { ignoring } from "./errors.ts"
import { type LinkRef, macBytes, macText } from "./links.ts"
import { attribute, joined, type Message, NLM_F, parseAttributes, u32Of } from "./netlink.ts"
import type { Route } from "./rtnetlink.ts"

/** An address, or a network, as its 4 or 16 bytes. */
export type Bytes = Uint8Array

/** An address of an interface. */
export interface InterfaceAddress {
  readonly index: number
  readonly address: Bytes
  readonly prefix: number
}

/** A route of the host to a network; one with several next hops counts once for each. */
export interface NetworkRoute {
  readonly to: Bytes
  readonly prefix: number
  /** The interface it goes out of. */
  readonly index: number | undefined
  readonly gateway: Bytes | undefined
}

/** All addresses of one family of the namespace (RTM_GETADDR). */
export function listAddresses(route: Route, family: 4 | 6 = 4): readonly InterfaceAddress[] {
  const body = header(8, familyOf(family))
  const answer = route.request({ type: "GETADDR", flags: NLM_F.DUMP, body, subject: "all addresses" })
  return answer.map(({ body }) => {
    const found = parseAttributes(body.subarray(8))
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
    const address = found.get(IFA_LOCAL) ?? found.get(IFA_ADDRESS) ?? new Uint8Array(0)
    return { index: view.getUint32(4, true), address, prefix: view.getUint8(1) }
  })
}

/** Gives an interface an address. EEXIST when it has it. */
export function addAddress(
  route: Route,
  { index, name }: LinkRef,
  { address, prefix }: { readonly address: Bytes; readonly prefix: number },
): void {
  const body = header(8, familyOfBytes(address))
  const view = new DataView(body.buffer)
  view.setUint8(1, prefix)
  // Nobody else has our IPv6 addresses, so duplicate address detection need not delay them.
  view.setUint8(2, address.length === 4 ? 0 : IFA_F_NODAD)
  view.setUint32(4, index, true)
  const broadcast = address.length === 4 && prefix < 31 ? [attribute(IFA_BROADCAST, broadcastOf(address, prefix))] : []
  const words = joined(body, attribute(IFA_LOCAL, address), attribute(IFA_ADDRESS, address), ...broadcast)
  route.request({ type: "NEWADDR", flags: NLM_F.CREATE | NLM_F.EXCL, body: words, subject: name })
}

/** The routes to other networks, of every table but the kernel's own for local addresses, the default ones included. */
export function listRoutes(route: Route, family: 4 | 6 = 4): readonly NetworkRoute[] {
  const answer = route.request({
    type: "GETROUTE",
    flags: NLM_F.DUMP,
    body: header(12, familyOf(family)),
    subject: "all routes",
  })
  return answer.flatMap(parseRoute)
}

/** The indexes of the interfaces that lead out to the world, by either family: of default routes, also of one split in two halves. */
export function uplinks(route: Route): ReadonlySet<number> {
  const routes = [4, 6].flatMap((family) => listRoutes(route, family === 4 ? 4 : 6))
  return new Set(routes.flatMap(({ prefix, index }) => (prefix <= 1 && index !== undefined ? [index] : [])))
}

/** Adds a default route through a gateway, for a namespace of our own. */
export function addDefaultRoute(route: Route, index: number, gateway: Bytes): void {
  const body = header(12, AF.INET)
  body.set([0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST], 1)
  const oif = new Uint8Array(4)
  new DataView(oif.buffer).setUint32(0, index, true)
  const words = joined(body, attribute(RTA_GATEWAY, gateway), attribute(RTA_OIF, oif))
  route.request({ type: "NEWROUTE", flags: NLM_F.CREATE | NLM_F.EXCL, body: words, subject: "default route" })
}

/** Binds an address to a MAC on an interface for good, so that nobody else can claim it (RTM_NEWNEIGH, permanent). */
export function setNeighbour(
  route: Route,
  index: number,
  { address, mac }: { readonly address: Bytes; readonly mac: string },
): void {
  const body = joined(
    neighbour({ family: familyOfBytes(address), index, state: NUD_PERMANENT }),
    attribute(NDA_DST, address),
    attribute(NDA_LLADDR, macBytes(mac)),
  )
  route.request({ type: "NEWNEIGH", flags: NLM_F.CREATE | NLM_F.REPLACE, body, subject: "neighbour" })
}

/** What a neighbour table says of an address on an interface for good: its MAC. */
export interface Neighbour {
  readonly index: number
  readonly address: Bytes
  readonly mac: string
}

/** The permanent entries of the namespace's neighbour tables (RTM_GETNEIGH). */
export function listNeighbours(route: Route): readonly Neighbour[] {
  const families = [AF.INET, AF.INET6]
  const answer = families.flatMap((family) =>
    route.request({ type: "GETNEIGH", flags: NLM_F.DUMP, body: header(12, family), subject: "all neighbours" }),
  )
  return answer.flatMap(({ body }) => {
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
    const found = parseAttributes(body.subarray(12))
    const [address, mac] = [found.get(NDA_DST), found.get(NDA_LLADDR)]
    if (address === undefined || mac === undefined || (view.getUint16(8, true) & NUD_PERMANENT) === 0) return []
    return [{ index: view.getInt32(4, true), address, mac: macText(mac) }]
  })
}

/** Has a bridge find a MAC at a port of it for good, in all VLANs that the port is in now (RTM_NEWNEIGH of AF_BRIDGE, static). */
export function setBridgeEntry(route: Route, { index, name }: LinkRef, mac: string): void {
  const body = joined(
    neighbour({ family: AF.BRIDGE, index, state: NUD_NOARP, flags: NTF_MASTER }),
    attribute(NDA_LLADDR, macBytes(mac)),
  )
  route.request({ type: "NEWNEIGH", flags: NLM_F.CREATE | NLM_F.REPLACE, body, subject: `${name} ${mac}` })
}

/** Forgets the MAC of an address. Succeeds also when the address is unknown or the interface gone. */
export function deleteNeighbour(route: Route, index: number, address: Bytes): void {
  const body = joined(neighbour({ family: familyOfBytes(address), index, state: 0 }), attribute(NDA_DST, address))
  ignoring(["ENOENT", "ENODEV"], () => route.request({ type: "DELNEIGH", body, subject: "neighbour" }))
}

// --- internal ---

const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_BROADCAST = 4
const IFA_F_NODAD = 2
const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_MULTIPATH = 9
const RTA_TABLE = 15
const RT_TABLE_MAIN = 254
const RT_TABLE_LOCAL = 255
const RTPROT_STATIC = 4
const RTN_UNICAST = 1
/** `struct rtnexthop`: u16 length, u8 flags, u8 hops, i32 interface; its attributes follow. */
const NEXT_HOP = 8
const NDA_DST = 1
const NDA_LLADDR = 2
const NUD_NOARP = 0x40
const NUD_PERMANENT = 0x80
const NTF_MASTER = 4

function familyOf(family: 4 | 6): number {
  return family === 4 ? AF.INET : AF.INET6
}

function header(length: number, family: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(length))
  bytes[0] = family
  return bytes
}

function broadcastOf(address: Bytes, prefix: number): Uint8Array {
  return address.map((byte, at) => byte | (0xff >> Math.min(8, Math.max(0, prefix - at * 8))))
}

/** `struct rtmsg`: family, destination and source lengths, tos, table, protocol, scope, type; u32 flags. */
function parseRoute({ body }: Message): readonly NetworkRoute[] {
  const found = parseAttributes(body.subarray(12))
  const table = u32Of(found.get(RTA_TABLE)) ?? body[4]
  // Of a type that leads nowhere (unreachable, blackhole) IPv6 has a default route on lo.
  if (table === RT_TABLE_LOCAL || body[7] !== RTN_UNICAST) return []
  const to = { to: found.get(RTA_DST) ?? new Uint8Array(body[0] === AF.INET ? 4 : 16), prefix: body[1] ?? 0 }
  const several = found.get(RTA_MULTIPATH)
  if (several !== undefined) return nextHops(several).map((hop) => ({ ...to, ...hop }))
  return [{ ...to, index: u32Of(found.get(RTA_OIF)), gateway: found.get(RTA_GATEWAY) }]
}

function nextHops(bytes: Uint8Array): readonly Pick<NetworkRoute, "index" | "gateway">[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const hops: Pick<NetworkRoute, "index" | "gateway">[] = []
  for (let at = 0; at + NEXT_HOP <= bytes.length; ) {
    const length = view.getUint16(at, true)
    if (length < NEXT_HOP || at + length > bytes.length) throw new RangeError(`next hop of ${length} bytes`)
    const found = parseAttributes(bytes.subarray(at + NEXT_HOP, at + length))
    hops.push({ index: view.getInt32(at + 4, true), gateway: found.get(RTA_GATEWAY) })
    at += (length + 3) & ~3
  }
  return hops
}

/** `struct ndmsg`: u8 family, 3 bytes, i32 interface, u16 state, u8 flags, u8 type. */
function neighbour({ family, index, state, flags = 0 }: NeighbourHeader): Uint8Array {
  const body = header(12, family)
  const view = new DataView(body.buffer)
  view.setInt32(4, index, true)
  view.setUint16(8, state, true)
  view.setUint8(10, flags)
  return body
}

interface NeighbourHeader {
  readonly family: number
  readonly index: number
  readonly state: number
  readonly flags?: number
}

function familyOfBytes(address: Bytes): number {
  return address.length === 4 ? AF.INET : AF.INET6
}
