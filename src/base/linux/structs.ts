/** `struct open_how` of openat2(2): three u64, whose upper halves are 0 here. */
export function packOpenHow(into: Uint32Array, flags: number, mode: number, resolve: number): void {
  into[0] = flags
  into[2] = mode
  into[4] = resolve
}

/** Bytes of `struct open_how`. */
export const OPEN_HOW_SIZE = 24

/** `struct pollfd` of poll(2): i32 fd, i16 events, i16 revents. */
export function packPollFd(fd: number, events: number): Uint8Array {
  return packPollFds([fd], events)
}

/** As `packPollFd`, one after another. */
export function packPollFds(fds: readonly number[], events: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(POLL_FD_SIZE * fds.length))
  for (const [index, fd] of fds.entries()) {
    view.setInt32(POLL_FD_SIZE * index, fd, true)
    view.setInt16(POLL_FD_SIZE * index + 4, events, true)
  }
  return new Uint8Array(view.buffer)
}

/** The events that poll(2) reported in a packed `struct pollfd`: the only one, or the one at `index`. */
export function unpackRevents(pollFds: Uint8Array, index = 0): number {
  return new DataView(pollFds.buffer).getInt16(POLL_FD_SIZE * index + 6, true)
}

const POLL_FD_SIZE = 8

/** Bytes of `struct statx`. */
export const STATX_SIZE = 256

/** What this program reads of a `struct statx`; times in milliseconds, `dev` as `major:minor`. */
export interface Stat {
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly ino: bigint
  readonly size: number
  readonly ctimeMs: number
  readonly mtimeMs: number
  /** When it was made; 0 where the file system does not tell. */
  readonly btimeMs: number
  readonly dev: string
  readonly rdev: string
  readonly mountId: bigint
}

/**
 * linux/stat.h: nlink@16 uid@20 gid@24 mode@28(u16) ino@32 size@40 btime@80 ctime@96 mtime@112
 * rdev@128,132 dev@136,140 mnt_id@144; a timestamp is i64 seconds, u32 nanoseconds.
 */
export function unpackStatx(bytes: Uint8Array): Stat {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const u32 = (at: number) => view.getUint32(at, true)
  const time = (at: number) => Number(view.getBigInt64(at, true)) * 1000 + u32(at + 8) / 1e6
  return {
    nlink: u32(16),
    uid: u32(20),
    gid: u32(24),
    mode: view.getUint16(28, true),
    ino: view.getBigUint64(32, true),
    size: Number(view.getBigUint64(40, true)),
    ctimeMs: time(96),
    mtimeMs: time(112),
    btimeMs: time(80),
    rdev: `${u32(128)}:${u32(132)}`,
    dev: `${u32(136)}:${u32(140)}`,
    mountId: view.getBigUint64(144, true),
  }
}

/** The longest path a unix socket can have: `sun_path` of unix(7) less its NUL. */
export const SUN_PATH_MAX = 107

/** `struct sockaddr_un` of unix(7): u16 family, NUL-terminated path. Throws when the path is longer than 107 bytes. */
export function packSockaddrUn(path: string): Uint8Array {
  const bytes = new TextEncoder().encode(path)
  if (bytes.length > SUN_PATH_MAX) throw new RangeError(`socket path longer than ${SUN_PATH_MAX} bytes: ${path}`)
  if (bytes.length === 0 || bytes.includes(0)) throw new TypeError(`not a socket path: ${JSON.stringify(path)}`)
  const address = new Uint8Array(2 + bytes.length + 1)
  new DataView(address.buffer).setUint16(0, 1, true)
  address.set(bytes, 2)
  return address
}

/** As `packSockaddrUn`, of a name of the abstract namespace: a NUL, then the name, which its length ends. */
export function packSockaddrUnAbstract(name: string): Uint8Array {
  const bytes = new TextEncoder().encode(name)
  if (bytes.length > SUN_PATH_MAX) throw new RangeError(`socket name longer than ${SUN_PATH_MAX} bytes: ${name}`)
  if (bytes.length === 0) throw new TypeError("not a socket name: it is empty")
  const address = new Uint8Array(2 + 1 + bytes.length)
  new DataView(address.buffer).setUint16(0, 1, true)
  address.set(bytes, 3)
  return address
}

/** `struct mount_attr` of mount_setattr(2): u64 set, clear, propagation, user namespace. */
export function packMountAttr(set: number, clear: number, propagation: number): Uint8Array {
  return new Uint8Array(new BigUint64Array([BigInt(set), BigInt(clear), BigInt(propagation), 0n]).buffer)
}
