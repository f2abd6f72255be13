import { ptr } from "bun:ffi"
import { procPath } from "./access.ts"
import { AF, SOCK } from "./constants.ts"
import { descriptor, fixed } from "./guards.ts"
import { checked, libc, outcome } from "./libc.ts"

/** A datagram socket to ask with. The caller closes it. Throws where /proc is not the kernel's. */
export function openProbe(): number {
  procPath(0)
  return checked("socket", () => libc.socket(AF.UNIX, SOCK.DGRAM | SOCK.CLOEXEC | SOCK.NONBLOCK, 0))
}

/**
 * Asks whether any socket is bound to the very inode of a descriptor, which must be a unix socket's (O_PATH will do):
 * connect(2) with a datagram socket, through /proc. Returns 0 or the errno:
 * ECONNREFUSED: none, of any type, in any network namespace; EPROTOTYPE: one of another type, listening or not;
 * 0 or EPERM: a datagram socket (EPERM: it has a peer of its own). After 0 the probe has a peer: use another.
 * The lookup is by inode, and the type is looked at before anything else (unix(7); unix_find_other() since Linux 2.6):
 * a stream server sees nothing of it.
 */
export function askWhoIsBound(probe: number, fd: number): number {
  const digits = String(descriptor(fd))
  for (let at = 0; at < digits.length; at++) ADDRESS[PATH_AT + at] = digits.charCodeAt(at)
  ADDRESS[PATH_AT + digits.length] = 0
  const length = PATH_AT + digits.length + 1
  return -outcome("connect", () => libc.connect(descriptor(probe), ADDRESS_AT, length))
}

// --- internal ---

/** `struct sockaddr_un` (unix(7)): family, then the path. */
const ADDRESS = fixed(110)
const PREFIX = new TextEncoder().encode("/proc/self/fd/")
const PATH_AT = 2 + PREFIX.length
ADDRESS[0] = AF.UNIX
ADDRESS.set(PREFIX, 2)
const ADDRESS_AT = ptr(ADDRESS)
