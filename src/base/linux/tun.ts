import { ptr } from "bun:ffi"
import { O } from "./constants.ts"
import { openAt } from "./files.ts"
import { AT_FDCWD, descriptor, fixed, word } from "./guards.ts"
import { checked, libc } from "./libc.ts"

/** Opens the device that taps are made with (/dev/net/tun). The caller closes the descriptor. */
export function openTun(): number {
  return openAt(AT_FDCWD, "/dev/net/tun", O.RDWR | O.NONBLOCK)
}

/**
 * Makes a new tap and holds it by the descriptor (TUNSETIFF with IFF_TUN_EXCL). Until `keepTap`, closing the descriptor
 * removes the tap. Packets have no header but `struct virtio_net_hdr`. EBUSY when the name is taken.
 */
export function newTap(fd: number, name: string): void {
  setInterface(fd, name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL)
}

/**
 * Holds an existing tap; one process at a time can. EBUSY while another process holds it, EINVAL when the name is not a
 * tap's. When no link has the name, makes a tap that closing the descriptor removes.
 */
export function holdTap(fd: number, name: string): void {
  setInterface(fd, name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
}

/** Lets this uid and gid (both) hold the tap without any capability. */
export function giveTap(fd: number, uid: number, gid: number): void {
  checked("ioctl TUNSETOWNER", () => libc.ioctl(descriptor(fd), TUNSETOWNER, word("uid", uid)))
  checked("ioctl TUNSETGROUP", () => libc.ioctl(descriptor(fd), TUNSETGROUP, word("gid", gid)))
}

/** Sets whether the tap stays after its last holder has closed it. */
export function keepTap(fd: number, keep: boolean): void {
  checked("ioctl TUNSETPERSIST", () => libc.ioctl(descriptor(fd), TUNSETPERSIST, keep ? 1 : 0))
}

// --- internal ---

const IFF_TAP = 0x0002
const IFF_NO_PI = 0x1000
const IFF_VNET_HDR = 0x4000
const IFF_TUN_EXCL = 0x8000
const TUNSETIFF = 0x400454ca
const TUNSETPERSIST = 0x400454cb
const TUNSETOWNER = 0x400454cc
const TUNSETGROUP = 0x400454ce

/** `struct ifreq`: 16 bytes of name, i16 flags. */
const REQUEST = fixed(40)

function setInterface(fd: number, name: string, flags: number): void {
  // The kernel would cut a long name, and fill in a number for %d.
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(name)) throw new TypeError(`not a name for an interface: ${JSON.stringify(name)}`)
  REQUEST.fill(0)
  REQUEST.set(Buffer.from(name))
  new DataView(REQUEST.buffer).setUint16(16, flags, true)
  checked("ioctl TUNSETIFF", () => libc.ioctl(descriptor(fd), TUNSETIFF, ptr(REQUEST)), name)
}
