import { errorCode } from "./errors.ts"
import {
  attribute,
  joined,
  type Message,
  NLM_F,
  nested,
  parseAttributes,
  pickAttributes,
  textAttribute,
  textOf,
  u32Attribute,
  u32Of,
} from "./netlink.ts"
import type { Route } from "./rtnetlink.ts"

/** A network interface. */
export interface Link {
  readonly index: number
  readonly name: string
  /** `bridge`, `tun`, `veth`, …; undefined for hardware. */
  readonly kind: string | undefined
  readonly alias: string | undefined
  readonly group: number
  /** The index of the bridge it is a port of. */
  readonly master: number | undefined
  readonly up: boolean
  readonly carrier: boolean
  readonly mac: string
  /** The largest packet that it carries, in bytes. */
  readonly mtu: number
  /** The uid that can hold a tap without any capability, where the kernel tells it (Linux 4.20). */
  readonly holder: { readonly uid: number | undefined; readonly gid: number | undefined } | undefined
}

/** The longest name of an interface: IFNAMSIZ less its NUL. */
export const NAME_MAX = 15

/** The link of this name, or undefined when no link has it (RTM_GETLINK). */
export function findLink(route: Route, name: string): Link | undefined {
  return oneLink(route, joined(linkHeader({}), textAttribute(IFLA.IFNAME, requireName(name, /^[!-~]{1,15}$/))), name)
}

/** The link of this index, whatever it is called by now; undefined when it has gone. `name` is for errors only. */
export function findLinkAt(route: Route, { index, name }: LinkRef): Link | undefined {
  return oneLink(route, linkHeader({ index }), name)
}

/** Every link of the namespace. */
export function listLinks(route: Route): readonly Link[] {
  const answer = route.request({ type: "GETLINK", flags: NLM_F.DUMP, body: linkHeader({}), subject: "all links" })
  return answer.map(parseLink)
}

/**
 * Makes a bridge without spanning tree, down, with this MAC and in this group of links. EEXIST when the name is taken.
 * The group marks it from birth; an alias can only be given afterwards.
 */
export function addBridge(
  route: Route,
  name: string,
  { mac, group }: { readonly mac: string; readonly group: number },
): void {
  const body = joined(
    linkHeader({}),
    nameAttribute(name),
    attribute(IFLA.ADDRESS, macBytes(mac)),
    u32Attribute(IFLA.GROUP, group),
    nested(IFLA.LINKINFO, textAttribute(IFLA_INFO_KIND, "bridge")),
  )
  route.request({ type: "NEWLINK", flags: NLM_F.CREATE | NLM_F.EXCL, body, subject: name })
}

/** Makes a pair of veth links, the first marked by its group; the second is born in the network namespace of `peerNs`. */
export function addVeth(
  route: Route,
  name: string,
  { group, peer, peerNs }: { readonly group: number; readonly peer: string; readonly peerNs: number },
): void {
  const other = joined(linkHeader({}), nameAttribute(peer), u32Attribute(IFLA.NET_NS_FD, peerNs))
  const body = joined(
    linkHeader({}),
    nameAttribute(name),
    u32Attribute(IFLA.GROUP, group),
    nested(
      IFLA.LINKINFO,
      textAttribute(IFLA_INFO_KIND, "veth"),
      nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, other)),
    ),
  )
  route.request({ type: "NEWLINK", flags: NLM_F.CREATE | NLM_F.EXCL, body, subject: name })
}

/** Changes of a link; one request makes them all. */
export interface LinkChange {
  readonly up?: boolean
  /** The bridge to be a port of. */
  readonly master?: number
  readonly alias?: string
  /** Another name; the link must be down before Linux 6.2. */
  readonly called?: string
  readonly group?: number
  readonly mac?: string
  /** In bytes. */
  readonly mtu?: number
}

/** Changes the link with this index (RTM_SETLINK). `name` is for errors only. */
export function changeLink(
  route: Route,
  index: number,
  name: string,
  { up, master, alias, called, group, mac, mtu }: LinkChange,
): void {
  const body = joined(
    linkHeader({ index, up }),
    ...(called === undefined ? [] : [nameAttribute(called)]),
    ...(alias === undefined ? [] : [textAttribute(IFLA.IFALIAS, alias)]),
    ...(group === undefined ? [] : [u32Attribute(IFLA.GROUP, group)]),
    ...(mac === undefined ? [] : [attribute(IFLA.ADDRESS, macBytes(mac))]),
    ...(mtu === undefined ? [] : [u32Attribute(IFLA.MTU, mtu)]),
    ...(master === undefined ? [] : [u32Attribute(IFLA.MASTER, master)]),
  )
  route.request({ type: "SETLINK", body, subject: name })
}

/** A link, known by its index; its name is for errors only. */
export interface LinkRef {
  readonly index: number
  readonly name: string
}

/** Removes the link with this index. Returns whether it was there. */
export function deleteLink(route: Route, index: number, name: string): boolean {
  try {
    route.request({ type: "DELLINK", body: linkHeader({ index }), subject: name })
    return true
  } catch (error) {
    if (errorCode(error) === "ENODEV") return false
    throw error
  }
}

/** The six bytes of `02:00:5e:10:00:01`. */
export function macBytes(mac: string): Uint8Array {
  if (!/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(mac)) throw new TypeError(`not a MAC address: ${mac}`)
  return Uint8Array.from(mac.split(":"), (byte) => Number.parseInt(byte, 16))
}

/** A MAC address in words. */
export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => HEX[byte]).join(":")
}

/** `struct ifinfomsg`: u8 family, u8, u16 type, i32 index, u32 flags, u32 change. */
export function linkHeader({
  index = 0,
  up,
  family = 0,
}: {
  index?: number
  up?: boolean | undefined
  family?: number
}): Uint8Array {
  const bytes = new Uint8Array(LINK_HEADER)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, family)
  view.setInt32(4, index, true)
  if (up !== undefined) {
    view.setUint32(8, up ? IFF_UP : 0, true)
    view.setUint32(12, IFF_UP, true)
  }
  return bytes
}

// --- internal ---

const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  MASTER: 10,
  LINKINFO: 18,
  IFALIAS: 20,
  GROUP: 27,
  NET_NS_FD: 28,
  CARRIER: 33,
} as const
const IFLA_INFO_KIND = 1
const IFLA_INFO_DATA = 2
const VETH_INFO_PEER = 1
const IFLA_TUN_OWNER = 1
const IFLA_TUN_GROUP = 2
const IFF_UP = 1
const NONE = new Uint8Array(0)
/** Which attributes a link is read from. */
const TOLD: ReadonlySet<number> = new Set([
  ...[IFLA.ADDRESS, IFLA.IFNAME, IFLA.MTU, IFLA.MASTER],
  ...[IFLA.LINKINFO, IFLA.IFALIAS, IFLA.GROUP, IFLA.CARRIER],
])
const TOLD_OF_KIND: ReadonlySet<number> = new Set([IFLA_INFO_KIND, IFLA_INFO_DATA])

const LINK_HEADER = 16
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"))

/** Checked here, since the kernel cuts or interprets (`tap%d`) what does not fit. */
function nameAttribute(name: string): Uint8Array {
  return textAttribute(IFLA.IFNAME, requireName(name, /^[A-Za-z0-9_.-]{1,15}$/))
}

function requireName(name: string, form: RegExp): string {
  if (form.test(name) && name !== "." && name !== "..") return name
  throw new TypeError(`not a name for an interface: ${JSON.stringify(name)}`)
}

function oneLink(route: Route, body: Uint8Array, subject: string): Link | undefined {
  try {
    return route.request({ type: "GETLINK", body, subject }).map(parseLink)[0]
  } catch (error) {
    if (errorCode(error) === "ENODEV") return undefined
    throw error
  }
}

function parseLink({ body }: Message): Link {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const found = pickAttributes(body.subarray(LINK_HEADER), TOLD)
  const info = pickAttributes(found.get(IFLA.LINKINFO) ?? NONE, TOLD_OF_KIND)
  const kind = textOf(info.get(IFLA_INFO_KIND))
  return {
    index: view.getInt32(4, true),
    name: textOf(found.get(IFLA.IFNAME)) ?? "",
    kind,
    alias: textOf(found.get(IFLA.IFALIAS)),
    group: u32Of(found.get(IFLA.GROUP)) ?? 0,
    master: u32Of(found.get(IFLA.MASTER)),
    up: (view.getUint32(8, true) & IFF_UP) !== 0,
    carrier: found.get(IFLA.CARRIER)?.[0] === 1,
    mac: macText(found.get(IFLA.ADDRESS) ?? NONE),
    mtu: u32Of(found.get(IFLA.MTU)) ?? 0,
    holder: kind === "tun" ? parseHolder(info.get(IFLA_INFO_DATA)) : undefined,
  }
}

function parseHolder(data: Uint8Array | undefined): Link["holder"] {
  if (data === undefined) return undefined
  const found = parseAttributes(data)
  return { uid: u32Of(found.get(IFLA_TUN_OWNER)), gid: u32Of(found.get(IFLA_TUN_GROUP)) }
}
