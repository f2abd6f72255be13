import { AF, MSG, SOCK } from "./constants.ts"
import { errorCode } from "./errors.ts"
import { checked, libc } from "./libc.ts"
import { awaitWritable } from "./poll.ts"
import { packSockaddrUn, packSockaddrUnAbstract } from "./structs.ts"

/**
 * Sends one datagram to the unix socket at an address (socket(2), connect(2), send(2)): a path, or `@` and a name of the abstract
 * namespace. Where the receiver is behind it is waited for up to `patienceMs`, then EAGAIN. Throws a system error when nobody is
 * there, and a RangeError or TypeError when the address cannot be one.
 */
export function sendDatagram(address: string, bytes: Uint8Array, patienceMs: number): void {
  const to = address.startsWith("@") ? packSockaddrUnAbstract(address.slice(1)) : packSockaddrUn(address)
  const fd = checked("socket", () => libc.socket(AF.UNIX, SOCK.DGRAM | SOCK.CLOEXEC, 0))
  try {
    checked("connect", () => libc.connect(fd, to, to.length), address)
    const send = () => checked("send", () => libc.send(fd, bytes, bytes.length, MSG.DONTWAIT | MSG.NOSIGNAL), address)
    try {
      send()
    } catch (error) {
      if (errorCode(error) !== "EAGAIN" || patienceMs <= 0) throw error
      awaitWritable(fd, patienceMs)
      send()
    }
  } finally {
    libc.close(fd)
  }
}
