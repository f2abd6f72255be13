import { AF, SOCK } from "./constants.ts"
import { checked, failureOf, libc, retried } from "./libc.ts"

/** A unix socket that the kernel lists for this network namespace, by the inode its name had when it was bound. */
export interface ListedSocket {
  /** The lower 32 bits, which is all that the kernel tells. */
  readonly inode: number
  /** `major:minor` of the file system; not always the one that stat(2) tells (btrfs). */
  readonly dev: string
  /** An accepted connection bears its listener's inode, and so does not prove that the listener lives. */
  readonly accepted: boolean
}

/**
 * The unix sockets of this network namespace that have a name (sock_diag(7), NETLINK_SOCK_DIAG, linux/unix_diag.h).
 * Those of other namespaces are not among them. Throws a system error where the kernel does not tell (ENOENT: no
 * unix_diag module).
 */
export function listedSockets(): readonly ListedSocket[] {
  const socket = checked("socket", () => libc.socket(AF.NETLINK, SOCK.RAW | SOCK.CLOEXEC, NETLINK_SOCK_DIAG))
  try {
    const request = packRequest()
    retried("send", () => libc.send(socket, request, request.length, 0))
    const found: ListedSocket[] = []
    for (let more = true; more; ) {
      const length = retried("recv", () => libc.recv(socket, REPLY, REPLY.length, 0))
      more = unpackReplies(REPLY.subarray(0, length), found)
    }
    return found
  } finally {
    libc.close(socket)
  }
}

/** Reads netlink messages (netlink(7)) into `found`; false after the last one. */
export function unpackReplies(bytes: Uint8Array, found: ListedSocket[]): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + 16 <= bytes.length; ) {
    const length = view.getUint32(at, true)
    const type = view.getUint16(at + 4, true)
    if (type === NLMSG_DONE || length < 16) return false
    if (type === NLMSG_ERROR) throw failureOf("recv(NETLINK_SOCK_DIAG)", view.getInt32(at + 16, true))
    const socket = unpackSocket(view, at + 16, Math.min(at + length, bytes.length))
    if (socket !== undefined) found.push(socket)
    at += (length + 3) & ~3
  }
  return true
}

// --- internal ---

const NETLINK_SOCK_DIAG = 4
const SOCK_DIAG_BY_FAMILY = 20
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const REQUEST_DUMP = 0x301
const SHOW_VFS = 2
const UNIX_DIAG_VFS = 1
const ESTABLISHED = 1

const REPLY = new Uint8Array(new ArrayBuffer(64 * 1024))

/** `struct nlmsghdr`, then `struct unix_diag_req`: all states, with the inode of the name. */
function packRequest(): Uint8Array {
  const view = new DataView(new ArrayBuffer(40))
  view.setUint32(0, 40, true)
  view.setUint16(4, SOCK_DIAG_BY_FAMILY, true)
  view.setUint16(6, REQUEST_DUMP, true)
  view.setUint8(16, AF.UNIX)
  view.setUint32(20, 0xffff_ffff, true)
  view.setUint32(28, SHOW_VFS, true)
  view.setBigInt64(32, -1n, true)
  return new Uint8Array(view.buffer)
}

/** `struct unix_diag_msg` (type@1, state@2, 16 bytes) and its attributes: u16 length, u16 type; VFS is u32 inode, u32 device. */
function unpackSocket(view: DataView, start: number, end: number): ListedSocket | undefined {
  const type = view.getUint8(start + 1)
  const connected = view.getUint8(start + 2) === ESTABLISHED && (type === SOCK.STREAM || type === SOCK.SEQPACKET)
  for (let at = start + 16; at + 4 <= end; ) {
    const length = view.getUint16(at, true)
    if (length < 4) return undefined
    if (view.getUint16(at + 2, true) === UNIX_DIAG_VFS) {
      const device = view.getUint32(at + 8, true)
      const dev = `${device >>> 20}:${device & 0xf_ffff}`
      return { inode: view.getUint32(at + 4, true), dev, accepted: connected }
    }
    at += (length + 3) & ~3
  }
  return undefined
}
