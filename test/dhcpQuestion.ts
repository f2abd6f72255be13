import type { DhcpLease } from "../src/host/dhcp/message.ts"

/** What is answered. */
export const LEASE: DhcpLease = {
  ...{ mac: "02:00:5e:10:00:01", address: "10.213.0.7", prefix: 16, gateway: "10.213.0.1" },
  ...{ gatewayMac: "02:aa:bb:cc:dd:ee", dns: ["9.9.9.9", "192.0.2.53"], mtu: undefined, name: "web" },
}

const bytesOf = (text: string) => text.split(".").map(Number)
const macOf = (text: string) => text.split(":").map((byte) => Number.parseInt(byte, 16))
export const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** What a client asks. */
export interface Question {
  readonly type?: number
  readonly mac?: string
  readonly chaddr?: string
  readonly from?: string
  readonly to?: string
  readonly has?: string
  readonly relay?: string
  readonly broadcast?: boolean
  readonly options?: readonly (readonly [number, readonly number[]])[]
  /** Words of IP's own options. */
  readonly words?: number
}

/** A frame as a client of DHCP sends it. */
export function ask({ type, mac = LEASE.mac, chaddr = mac, words = 0, ...more }: Question): Uint8Array {
  const options = [...(type === undefined ? [] : [[53, [type]] as const]), ...(more.options ?? [])].flatMap(
    ([kind, value]) => [kind, value.length, ...value],
  )
  const header = 20 + 4 * words
  const udp = 14 + header
  const frame = new Uint8Array(udp + 8 + 240 + options.length + 1)
  const view = viewOf(frame)
  frame.set(macOf("ff:ff:ff:ff:ff:ff"), 0)
  frame.set(macOf(mac), 6)
  view.setUint16(12, 0x0800)
  view.setUint8(14, 0x45 + words)
  view.setUint16(16, frame.length - 14)
  view.setUint8(23, 17)
  frame.set(bytesOf(more.from ?? "0.0.0.0"), 26)
  frame.set(bytesOf(more.to ?? "255.255.255.255"), 30)
  view.setUint16(udp, 68)
  view.setUint16(udp + 2, 67)
  view.setUint16(udp + 4, frame.length - udp)
  const at = udp + 8
  frame.set([1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef], at)
  view.setUint16(at + 10, more.broadcast === true ? 0x8000 : 0)
  frame.set(bytesOf(more.has ?? "0.0.0.0"), at + 12)
  frame.set(bytesOf(more.relay ?? "0.0.0.0"), at + 24)
  frame.set(macOf(chaddr), at + 28)
  view.setUint32(at + 236, 0x63825363)
  frame.set([...options, 255], at + 240)
  return frame
}
