import { bytesOf, netmaskOf } from "../../base/terms/address.ts"
import { AT, type DhcpLease, IN, MARKS, macBytes, numberOf, OPTION, PORT, PROTOCOL, TYPE, viewOf } from "./message.ts"
import { type Asked, parseQuestion } from "./question.ts"

/**
 * The frame that answers a guest's frame (RFC 2131, RFC 2132), with a lease that never ends; undefined for all that is no question
 * by DHCP of this guest to this server. Of the guest's bytes only its transaction's number and its flags come
 * back. Pure.
 */
export function answerDhcp(frame: Uint8Array, lease: DhcpLease): Uint8Array | undefined {
  const asked = parseQuestion(frame, lease)
  if (asked === undefined) return undefined
  const [own, server] = [numberOf(lease.address), numberOf(lease.gateway)]
  if (asked.to !== MARKS.everybody && asked.to !== server) return undefined
  if (asked.server !== undefined && asked.server !== server) return undefined
  if (asked.type === TYPE.discover) return reply(asked, lease, { type: TYPE.offer, gives: own, lasts: true })
  if (asked.type === TYPE.inform) {
    return asked.has === own ? reply(asked, lease, { type: TYPE.ack, gives: 0, lasts: false }) : undefined
  }
  if (asked.type !== TYPE.request) return undefined
  // Without either it asks for nothing.
  const wanted = asked.wants ?? asked.has
  if (wanted === 0) return undefined
  const refused = { type: TYPE.nak, gives: undefined, lasts: false } as const
  return reply(asked, lease, wanted === own ? { type: TYPE.ack, gives: own, lasts: true } : refused)
}

// --- internal ---

/** Clients of BOOTP's time take no shorter message. */
const MESSAGE_MIN_BYTES = 300

/** What is answered. `gives`: the address; undefined: none, and the one that was asked for is refused. */
interface Answer {
  readonly type: number
  readonly gives: number | undefined
  readonly lasts: boolean
}

function reply(asked: Asked, lease: DhcpLease, { type, gives, lasts }: Answer): Uint8Array {
  const server = bytesOf(numberOf(lease.gateway))
  const options = [
    option(OPTION.type, [type]),
    option(OPTION.server, server),
    ...(lasts ? [option(OPTION.lasts, bytesOf(MARKS.ever))] : []),
    ...(gives === undefined ? [] : places(lease)),
    [OPTION.end],
  ].flat()
  const message = new Uint8Array(Math.max(MESSAGE_MIN_BYTES, IN.options + options.length))
  const view = viewOf(message)
  const own = numberOf(lease.address)
  const has = gives !== undefined && asked.has === own ? own : 0
  view.setUint32(0, 0x02_01_06_00)
  view.setUint32(IN.xid, asked.xid)
  view.setUint16(IN.flags, asked.broadcast ? MARKS.broadcast : 0)
  view.setUint32(IN.ciaddr, has)
  view.setUint32(IN.yiaddr, gives ?? 0)
  message.set(macBytes(lease.mac), IN.chaddr)
  view.setUint32(IN.magic, MARKS.magic)
  message.set(options, IN.options)
  // A guest that is refused must not take its address for its own any more; another may take no frame to one that it does not have yet.
  const all = gives === undefined || (has === 0 && asked.broadcast)
  const to = all
    ? { mac: "ff:ff:ff:ff:ff:ff", address: MARKS.everybody }
    : { mac: lease.mac, address: has || (gives ?? 0) }
  return framed(message, { from: { mac: lease.gatewayMac, address: numberOf(lease.gateway) }, to })
}

function places({ prefix, gateway, address, dns, mtu, name }: DhcpLease): readonly (readonly number[])[] {
  const mask = numberOf(netmaskOf(prefix))
  const servers = dns.flatMap((one) => [...bytesOf(numberOf(one))])
  return [
    option(OPTION.mask, bytesOf(mask)),
    option(OPTION.broadcast, bytesOf((numberOf(address) | ~mask) >>> 0)),
    option(OPTION.router, bytesOf(numberOf(gateway))),
    ...(servers.length === 0 ? [] : [option(OPTION.dns, servers)]),
    option(OPTION.name, new TextEncoder().encode(name)),
    ...(mtu === undefined ? [] : [option(OPTION.mtu, [mtu >> 8, mtu & 255])]),
  ]
}

function option(kind: number, value: Iterable<number>): readonly number[] {
  const bytes = [...value]
  return [kind, bytes.length, ...bytes]
}

interface End {
  readonly mac: string
  readonly address: number
}

/** A message in UDP, IPv4 and Ethernet. */
function framed(message: Uint8Array, { from, to }: { readonly from: End; readonly to: End }): Uint8Array {
  const [ip, udp] = [AT.ip, AT.ip + 20]
  const frame = new Uint8Array(udp + 8 + message.length)
  const view = viewOf(frame)
  frame.set(macBytes(to.mac), AT.to)
  frame.set(macBytes(from.mac), AT.from)
  view.setUint16(AT.type, PROTOCOL.ipv4)
  view.setUint16(ip, 0x4500)
  view.setUint16(ip + 2, 28 + message.length)
  view.setUint8(ip + 8, 64)
  view.setUint8(ip + 9, PROTOCOL.udp)
  view.setUint32(ip + 12, from.address)
  view.setUint32(ip + 16, to.address)
  view.setUint16(ip + 10, checksum(frame.subarray(ip, udp), 0))
  view.setUint16(udp, PORT.server)
  view.setUint16(udp + 2, PORT.client)
  view.setUint16(udp + 4, 8 + message.length)
  frame.set(message, udp + 8)
  // The addresses are part of it (RFC 768).
  const sum = checksum(frame.subarray(ip + 12), PROTOCOL.udp + 8 + message.length)
  view.setUint16(udp + 6, sum === 0 ? 0xffff : sum)
  return frame
}

/** The checksum of the internet (RFC 1071). */
function checksum(bytes: Uint8Array, more: number): number {
  let sum = more
  for (const [at, byte] of bytes.entries()) sum += at % 2 === 0 ? byte << 8 : byte
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}
