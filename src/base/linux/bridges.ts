import { AF } from "./constants.ts"
import { type LinkRef, linkHeader } from "./links.ts"
import {
  attribute,
  joined,
  listAttributes,
  type Message,
  NLM_F,
  nested,
  parseAttributes,
  u8Attribute,
  u32Attribute,
} from "./netlink.ts"
import { setBridgeEntry } from "./routes.ts"
import type { Route } from "./rtnetlink.ts"

/** Keeps a port of a bridge from reaching the other isolated ports of it, or no longer (IFLA_BRPORT_ISOLATED, Linux 4.18). */
export function isolatePort(route: Route, port: LinkRef, isolated: boolean): void {
  setFlags(route, port, { ISOLATED: isolated })
}

/**
 * Ties a port of a bridge to one MAC address: the bridge learns no other there, whatever comes in (IFLA_BRPORT_LEARNING, and a static
 * entry of its table, in all VLANs that the port is in now), and shuts the port when spanning tree is spoken there
 * (IFLA_BRPORT_GUARD). Rules cannot do that: to some frames a bridge listens before it asks them (br_handle_frame()).
 */
export function tiePort(route: Route, port: LinkRef, mac: string): void {
  setFlags(route, port, { LEARNING: false, GUARD: true })
  setBridgeEntry(route, port, mac)
}

/** Whether a bridge filters VLANs (IFLA_BR_VLAN_FILTERING); false also where the kernel cannot (CONFIG_BRIDGE_VLAN_FILTERING). */
export function filtersVlans(route: Route, { index, name }: LinkRef): boolean {
  const [answer] = route.request({ type: "GETLINK", body: linkHeader({ index }), subject: name })
  const info = parseAttributes(attributesOf(answer).get(IFLA_LINKINFO) ?? NONE)
  return parseAttributes(info.get(IFLA_INFO_DATA) ?? NONE).get(IFLA_BR_VLAN_FILTERING)?.[0] === 1
}

/** A VLAN that a port of a bridge is in. */
export interface PortVlan {
  readonly id: number
  /** Whether frames without a tag that come in are of this VLAN. */
  readonly pvid: boolean
  /** Whether frames of this VLAN go out without a tag. */
  readonly untagged: boolean
}

/** A port of a bridge. */
export interface Port {
  readonly isolated: boolean
  /** Whether the bridge learns MAC addresses there. */
  readonly learns: boolean
  /** Whether spanning tree shuts it. */
  readonly guarded: boolean
  readonly vlans: readonly PortVlan[]
}

/** What a port of a bridge is (RTM_GETLINK of AF_BRIDGE, which lists all ports). */
export function readPort(route: Route, { index, name }: LinkRef): Port {
  // Compressed: one port in all VLANs does not fit into a message otherwise.
  const mask = RTEXT_FILTER_BRVLAN_COMPRESSED
  const body = joined(linkHeader({ family: AF.BRIDGE }), u32Attribute(IFLA_EXT_MASK, mask))
  const ports = route.request({ type: "GETLINK", flags: NLM_F.DUMP, body, subject: name })
  const port = ports.find((one) => new DataView(one.body.buffer, one.body.byteOffset).getInt32(4, true) === index)
  const found = attributesOf(port)
  const flags = parseAttributes(found.get(IFLA_PROTINFO) ?? NONE)
  const is = (flag: number) => flags.get(flag)?.[0] === 1
  const vlans = listAttributes(found.get(IFLA_AF_SPEC) ?? NONE)
    .filter(([type]) => type === IFLA_BRIDGE_VLAN_INFO)
    .map(([, value]) => value)
  return {
    isolated: is(IFLA_BRPORT.ISOLATED),
    learns: is(IFLA_BRPORT.LEARNING),
    guarded: is(IFLA_BRPORT.GUARD),
    vlans: parseVlans(vlans),
  }
}

/** The VLANs of a list of `struct bridge_vlan_info` (u16 flags, u16 id), in which two may stand for all between them. Pure. */
export function parseVlans(infos: readonly Uint8Array[]): readonly PortVlan[] {
  const vlans: PortVlan[] = []
  let first: number | undefined
  for (const value of infos) {
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
    const [flags, id] = [view.getUint16(0, true), view.getUint16(2, true)]
    if ((flags & VLAN_RANGE_BEGIN) !== 0) {
      first = id
      continue
    }
    const from = (flags & VLAN_RANGE_END) === 0 ? id : (first ?? id)
    for (let each = from; each <= id; each++)
      vlans.push({ id: each, pvid: (flags & VLAN_PVID) !== 0, untagged: (flags & VLAN_UNTAGGED) !== 0 })
    first = undefined
  }
  return vlans
}

/** Puts a port of a bridge into a VLAN, in both directions without a tag, and takes it out of all others. */
export function setPortVlan(route: Route, port: LinkRef, id: number): void {
  changeVlan(route, port, { type: "SETLINK", id, flags: VLAN_PVID | VLAN_UNTAGGED })
  for (const other of readPort(route, port).vlans)
    if (other.id !== id) changeVlan(route, port, { type: "DELLINK", id: other.id, flags: 0 })
}

// --- internal ---

const LINK_HEADER = 16
const IFLA_PROTINFO = 12
const IFLA_LINKINFO = 18
const IFLA_AF_SPEC = 26
const IFLA_EXT_MASK = 29
const IFLA_INFO_DATA = 2
const IFLA_BRPORT = { GUARD: 5, LEARNING: 8, ISOLATED: 33 } as const
const IFLA_BR_VLAN_FILTERING = 7
const IFLA_BRIDGE_VLAN_INFO = 2
const RTEXT_FILTER_BRVLAN_COMPRESSED = 4
const VLAN_PVID = 2
const VLAN_UNTAGGED = 4
const VLAN_RANGE_BEGIN = 8
const VLAN_RANGE_END = 16

const NONE = new Uint8Array(0)

/** Sets flags of a port of a bridge: a byte each (IFLA_PROTINFO). */
function setFlags(
  route: Route,
  { index, name }: LinkRef,
  flags: Readonly<Partial<Record<keyof typeof IFLA_BRPORT, boolean>>>,
): void {
  const bytes = Object.entries(flags).map(([flag, on]) =>
    u8Attribute(IFLA_BRPORT[flag as keyof typeof IFLA_BRPORT], on ? 1 : 0),
  )
  const body = joined(linkHeader({ index, family: AF.BRIDGE }), nested(IFLA_PROTINFO, ...bytes))
  route.request({ type: "SETLINK", body, subject: name })
}

function attributesOf(message: Message | undefined): ReadonlyMap<number, Uint8Array> {
  return parseAttributes(message?.body.subarray(LINK_HEADER) ?? NONE)
}

function changeVlan(
  route: Route,
  { index, name }: LinkRef,
  { type, id, flags }: { readonly type: "SETLINK" | "DELLINK"; readonly id: number; readonly flags: number },
): void {
  const info = new Uint8Array(4)
  const view = new DataView(info.buffer)
  view.setUint16(0, flags, true)
  view.setUint16(2, id, true)
  const spec = nested(IFLA_AF_SPEC, attribute(IFLA_BRIDGE_VLAN_INFO, info))
  route.request({ type, body: joined(linkHeader({ index, family: AF.BRIDGE }), spec), subject: name })
}
