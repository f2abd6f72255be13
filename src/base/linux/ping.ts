import { AF, POLLIN, SOCK } from "./constants.ts"
import { errorCode } from "./errors.ts"
import { fixed } from "./guards.ts"
import { checked, libc, retried } from "./libc.ts"
import { packPollFd } from "./structs.ts"

/**
 * Sends ICMP echo requests to an IPv4 address, one every 200 ms, from this thread's network namespace (icmp(7), a raw
 * socket: CAP_NET_RAW). Returns whether it answered within the time, in milliseconds. Blocks this thread.
 */
export function answersPing(address: Uint8Array, limit: number): boolean {
  const fd = checked(
    "socket",
    () => libc.socket(AF.INET, SOCK.RAW | SOCK.CLOEXEC | SOCK.NONBLOCK, IPPROTO_ICMP),
    "icmp",
  )
  const to = fixed(16)
  new DataView(to.buffer).setUint16(0, AF.INET, true)
  to.set(address, 4)
  try {
    checked("connect", () => libc.connect(fd, to, to.length), "icmp")
    const id = process.pid & 0xffff
    const deadline = performance.now() + limit
    for (let sequence = 1; performance.now() < deadline; sequence++) {
      const packet = echoRequest(id, sequence)
      if (!sent(fd, packet)) return false
      if (answered(fd, id, Math.min(deadline, performance.now() + INTERVAL_MS))) return true
    }
    return false
  } finally {
    libc.close(fd)
  }
}

/** An ICMP echo request (RFC 792) of eight bytes, with its checksum. Pure. */
export function echoRequest(id: number, sequence: number): Uint8Array {
  const bytes = fixed(8)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, ECHO)
  view.setUint16(4, id)
  view.setUint16(6, sequence)
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += view.getUint16(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  view.setUint16(2, ~sum & 0xffff)
  return bytes
}

// --- internal ---

const IPPROTO_ICMP = 1
const ECHO = 8
const ECHO_REPLY = 0
const INTERVAL_MS = 200
const BUFFER = fixed(2048)

/** "Unreachable" is an answer: no. */
function sent(fd: number, packet: Uint8Array): boolean {
  try {
    retried("send", () => libc.send(fd, packet, packet.length, 0), "icmp")
    return true
  } catch (error) {
    if (["ENETUNREACH", "EHOSTUNREACH", "EPERM", "EACCES", "ECONNREFUSED"].includes(errorCode(error) ?? ""))
      return false
    throw error
  }
}

function answered(fd: number, id: number, deadline: number): boolean {
  for (;;) {
    const left = Math.ceil(deadline - performance.now())
    const pollFd = packPollFd(fd, POLLIN)
    if (left <= 0 || retried("poll", () => libc.poll(pollFd, 1, left), "icmp") === 0) return false
    try {
      const length = retried("read", () => libc.read(fd, BUFFER, BUFFER.length), "icmp")
      // Behind the IP header, whose length in words is its low half-byte.
      const at = ((BUFFER[0] ?? 0) & 15) * 4
      const view = new DataView(BUFFER.buffer)
      if (length >= at + 8 && BUFFER[at] === ECHO_REPLY && view.getUint16(at + 4) === id) return true
    } catch (error) {
      if (errorCode(error) === "EAGAIN") continue
      return false
    }
  }
}
