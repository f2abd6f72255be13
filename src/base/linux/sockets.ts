import { AF, MSG, SOCK, SOL } from "./constants.ts"
import { errorCode } from "./errors.ts"
import { descriptor, fixed } from "./guards.ts"
import { checked, libc, outcome } from "./libc.ts"
import { packSockaddrUn } from "./structs.ts"

const SO_PEERCRED = 17

/**
 * A listening stream socket at `path` (socket(2), bind(2), listen(2)), at most 107 bytes long. The mode is 0777 cut by
 * the umask, from the moment the name exists. EADDRINUSE when anything has the name. The caller closes the descriptor.
 */
export function listenUnix(path: string, backlog: number): number {
  const address = packSockaddrUn(path)
  const fd = checked("socket", () => libc.socket(AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC, 0))
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
  return connected(path, peerOf)
}

/**
 * As `listenerOf`, with a pidfd of that very process, the caller's to close (SO_PEERPIDFD, Linux 6.5); undefined on
 * older kernels. ESRCH, and on newer ones a pidfd that has exited, when the process is gone.
 */
export function holdListener(path: string): { readonly pid: number; readonly pidfd: number | undefined } {
  return connected(path, (fd) => ({ pid: peerOf(fd, path).pid, pidfd: peerPidfd(fd, path) }))
}

/** What a socket has received, without waiting (recv(2)): how many bytes, 0 at its end, undefined when there is nothing yet. */
export function receive(fd: number, buffer: Uint8Array): number | undefined {
  const count = outcome("recv", () => libc.recv(descriptor(fd), buffer, buffer.length, MSG.DONTWAIT))
  if (count >= 0) return count
  return count === -EAGAIN || count === -EINTR ? undefined : 0
}

// --- internal ---

const [EINTR, EAGAIN] = [4, 11]

const SO_PEERPIDFD = 77

/** Never waits (EAGAIN): a hostile owner could keep its backlog full for ever. */
function connected<T>(path: string, use: (fd: number, path: string) => T): T {
  const address = packSockaddrUn(path)
  const fd = checked("socket", () => libc.socket(AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC | SOCK.NONBLOCK, 0))
  try {
    checked("connect", () => libc.connect(fd, address, address.length), path)
    return use(fd, path)
  } finally {
    libc.close(fd)
  }
}

function peerOf(fd: number, path: string): { readonly pid: number; readonly uid: number } {
  const view = option(fd, path, SO_PEERCRED, 12)
  return { pid: view.getUint32(0, true), uid: view.getUint32(4, true) }
}

function peerPidfd(fd: number, path: string): number | undefined {
  try {
    return option(fd, path, SO_PEERPIDFD, 4).getInt32(0, true)
  } catch (error) {
    if (errorCode(error) === "ENOPROTOOPT") return undefined
    throw error
  }
}

function option(fd: number, path: string, name: number, size: number): DataView {
  const [value, length] = [fixed(size), new Uint32Array(fixed(4).buffer)]
  length[0] = size
  checked("getsockopt", () => libc.getsockopt(fd, SOL.SOCKET, name, value, length), path)
  return new DataView(value.buffer)
}
