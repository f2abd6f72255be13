import { parseAddress } from "../../base/terms/address.ts"

/** What a guest is told when it asks for its address by DHCP. */
export interface DhcpLease {
  readonly mac: string
  readonly address: string
  readonly prefix: number
  /** The router, and who answers. */
  readonly gateway: string
  readonly gatewayMac: string
  readonly dns: readonly string[]
  /** In bytes; undefined: what each Ethernet carries. */
  readonly mtu: number | undefined
  /** The VM's name, which is a DNS label. */
  readonly name: string
}

/** No frame that is looked at is longer, in bytes. */
export const FRAME_MAX_BYTES = 1600

/** Ethernet's and IP's numbers of what is inside. */
export const PROTOCOL = { ipv4: 0x0800, udp: 17 } as const
export const PORT = { server: 67, client: 68 } as const

/** Types of messages (RFC 2132, option 53). */
export const TYPE = { discover: 1, offer: 2, request: 3, ack: 5, nak: 6, inform: 8 } as const

/** Where what is in a frame. */
export const AT = { to: 0, from: 6, type: 12, ip: 14 } as const
/** Where what is in a message (RFC 2131); options follow the magic number. */
export const IN = {
  xid: 4,
  flags: 10,
  ciaddr: 12,
  yiaddr: 16,
  giaddr: 24,
  chaddr: 28,
  magic: 236,
  options: 240,
} as const
/** The number that says that options follow, the flag that asks for an answer to all, the address of all, and for ever. */
export const MARKS = { magic: 0x6382_5363, broadcast: 0x8000, everybody: 0xffff_ffff, ever: 0xffff_ffff } as const

/** Options (RFC 2132). */
export const OPTION = {
  ...{ mask: 1, router: 3, dns: 6, name: 12, mtu: 26, broadcast: 28 },
  ...{ wanted: 50, lasts: 51, type: 53, server: 54, end: 255 },
} as const

/** A view of just these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The number of an address that is known to be one; throws for anything else. */
export function numberOf(address: string): number {
  const number = parseAddress(address)
  if (number === undefined) throw new TypeError(`not an IPv4 address: ${address}`)
  return number
}

/** The six bytes of a MAC address. */
export function macBytes(mac: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(mac.split(":"), (byte) => Number.parseInt(byte, 16))
}
