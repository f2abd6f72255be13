import { checked, libc } from "./libc.ts"
import { packSockaddrUn } from "./structs.ts"

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_CLOEXEC = 0o2000000

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
