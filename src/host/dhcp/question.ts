import { addressOf } from "../../base/terms/address.ts"
import { AT, type DhcpLease, FRAME_MAX_BYTES, IN, MARKS, macBytes, OPTION, PORT, PROTOCOL, viewOf } from "./message.ts"

/** What a guest asks. */
export interface Asked {
  readonly type: number
  /** Whom it asks, by the frame's address. */
  readonly to: number
  readonly xid: number
  readonly broadcast: boolean
  /** The address that it has (0: none), that it wants, and the server that it has chosen. */
  readonly has: number
  readonly wants: number | undefined
  readonly server: number | undefined
}

/** What the guest of a lease asks in a frame; undefined for all that is no question by DHCP of this guest itself. Pure. */
export function parseQuestion(frame: Uint8Array, { mac }: DhcpLease): Asked | undefined {
  if (frame.length < AT.ip + 20 || frame.length > FRAME_MAX_BYTES) return undefined
  const all = viewOf(frame)
  if (
    all.getUint16(AT.type) !== PROTOCOL.ipv4 ||
    all.getUint8(AT.ip) >> 4 !== 4 ||
    all.getUint8(AT.ip + 9) !== PROTOCOL.udp
  )
    return undefined
  if ((all.getUint16(AT.ip + 6) & 0x3fff) !== 0) return undefined
  const header = (all.getUint8(AT.ip) & 15) * 4
  const total = all.getUint16(AT.ip + 2)
  if (header < 20 || total < header + 8 + IN.options || AT.ip + total > frame.length) return undefined
  const udp = AT.ip + header
  const length = all.getUint16(udp + 4)
  if (all.getUint16(udp + 2) !== PORT.server || length < 8 + IN.options || header + length > total) return undefined
  const bytes = frame.subarray(udp + 8, udp + length)
  const message = viewOf(bytes)
  // A question, by Ethernet, of this guest itself, which no relay has passed on.
  if (message.getUint32(0) >>> 8 !== 0x01_01_06 || message.getUint32(IN.magic) !== MARKS.magic) return undefined
  if (message.getUint32(IN.giaddr) !== 0) return undefined
  const own = macBytes(mac)
  if (!own.every((byte, at) => bytes[IN.chaddr + at] === byte && frame[AT.from + at] === byte)) return undefined
  const options = parseOptions(bytes.subarray(IN.options))
  const type = options.get(OPTION.type)
  if (type?.length !== 1) return undefined
  return {
    type: type[0] ?? 0,
    to: all.getUint32(AT.ip + 16),
    xid: message.getUint32(IN.xid),
    broadcast: (message.getUint16(IN.flags) & MARKS.broadcast) !== 0,
    has: message.getUint32(IN.ciaddr),
    wants: addressIn(options.get(OPTION.wanted)),
    server: addressIn(options.get(OPTION.server)),
  }
}

// --- internal ---

/** The first of each kind, up to the first that does not fit. */
function parseOptions(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const found = new Map<number, Uint8Array>()
  for (let at = 0; at < bytes.length; ) {
    const kind = bytes[at++]
    if (kind === 0) continue
    const length = bytes[at++]
    if (kind === undefined || kind === OPTION.end || length === undefined || at + length > bytes.length) break
    if (!found.has(kind)) found.set(kind, bytes.subarray(at, at + length))
    at += length
  }
  return found
}

function addressIn(option: Uint8Array | undefined): number | undefined {
  return option?.length === 4 ? addressOf(option) : undefined
}
