import { fixed } from "./guards.ts"
import { checked, libc } from "./libc.ts"
import { packSockaddrUn } from "./structs.ts"

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SO_PEERCRED = 17

/**
 * A listening stream socket at `path` (socket(2), bind(2), listen(2)), at most 107 bytes long. The mode is 0777 cut by
 * the umask, from the moment the name exists. EADDRINUSE when anything has the name. The caller closes the descriptor.
 */
export function listenUnix(path: string, backlog: number): number {
  const address = packSockaddrUn(path)
  const fd = checked("socket", () => libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))
  try {
    checked("bind", () => libc.bind(fd, address, address.length), path)
    checked("listen", () => libc.listen(fd, backlog), path)
    return fd
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

/** Who listens on a unix stream socket (SO_PEERCRED of unix(7)): the pid and uid that called listen(2). */
export function listenerOf(path: string): { readonly pid: number; readonly uid: number } {
  const address = packSockaddrUn(path)
  const fd = checked("socket", () => libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))
  try {
    checked("connect", () => libc.connect(fd, address, address.length), path)
    const [credentials, length] = [fixed(12), new Uint32Array(fixed(4).buffer)]
    length[0] = credentials.length
    checked("getsockopt", () => libc.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length), path)
    const view = new DataView(credentials.buffer)
    return { pid: view.getUint32(0, true), uid: view.getUint32(4, true) }
  } finally {
    libc.close(fd)
  }
}
