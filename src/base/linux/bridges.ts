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
import type { Route } from "./rtnetlink.ts"

/** Keeps a port of a bridge from reaching the other isolated ports of it, or no longer (IFLA_BRPORT_ISOLATED, Linux 4.18). */
export function isolatePort(route: Route, { index, name }: LinkRef, isolated: boolean): void {
  const flag = u8Attribute(IFLA_BRPORT_ISOLATED, isolated ? 1 : 0)
  const body = joined(linkHeader({ index, family: AF_BRIDGE }), nested(IFLA_PROTINFO, flag))
  route.request({ type: "SETLINK", body, subject: name })
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

/** The VLANs that a port of a bridge is in (RTM_GETLINK of AF_BRIDGE, which lists all ports). */
export function listPortVlans(route: Route, { index, name }: LinkRef): readonly PortVlan[] {
  const body = joined(linkHeader({ family: AF_BRIDGE }), u32Attribute(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN))
  const ports = route.request({ type: "GETLINK", flags: NLM_F.DUMP, body, subject: name })
  const port = ports.find((one) => new DataView(one.body.buffer, one.body.byteOffset).getInt32(4, true) === index)
  return listAttributes(attributesOf(port).get(IFLA_AF_SPEC) ?? NONE)
    .filter(([type]) => type === IFLA_BRIDGE_VLAN_INFO)
    .map(([, value]) => parseVlan(value))
}

/** Puts a port of a bridge into a VLAN, in both directions without a tag, and takes it out of all others. */
export function setPortVlan(route: Route, port: LinkRef, id: number): void {
  changeVlan(route, port, { type: "SETLINK", id, flags: VLAN_PVID | VLAN_UNTAGGED })
  for (const other of listPortVlans(route, port))
    if (other.id !== id) changeVlan(route, port, { type: "DELLINK", id: other.id, flags: 0 })
}

// --- internal ---

const AF_BRIDGE = 7
const LINK_HEADER = 16
const IFLA_PROTINFO = 12
const IFLA_LINKINFO = 18
const IFLA_AF_SPEC = 26
const IFLA_EXT_MASK = 29
const IFLA_INFO_DATA = 2
const IFLA_BRPORT_ISOLATED = 33
const IFLA_BR_VLAN_FILTERING = 7
const IFLA_BRIDGE_VLAN_INFO = 2
const RTEXT_FILTER_BRVLAN = 2
const VLAN_PVID = 2
const VLAN_UNTAGGED = 4

const NONE = new Uint8Array(0)

function attributesOf(message: Message | undefined): ReadonlyMap<number, Uint8Array> {
  return parseAttributes(message?.body.subarray(LINK_HEADER) ?? NONE)
}

/** `struct bridge_vlan_info`: u16 flags, u16 id. */
function parseVlan(value: Uint8Array): PortVlan {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  const flags = view.getUint16(0, true)
  return { id: view.getUint16(2, true), pvid: (flags & VLAN_PVID) !== 0, untagged: (flags & VLAN_UNTAGGED) !== 0 }
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
  route.request({ type, body: joined(linkHeader({ index, family: AF_BRIDGE }), spec), subject: name })
}
