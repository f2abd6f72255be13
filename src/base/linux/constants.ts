/** open(2) flags shared by x86-64 and arm64 (asm-generic/fcntl.h). */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const

/** The two open(2) flags whose bits differ: arm64 has its own asm/fcntl.h. */
export const O_DIRECTORY = process.arch === "arm64" ? 0o40000 : 0o200000
export const O_NOFOLLOW = process.arch === "arm64" ? 0o100000 : 0o400000

/** Makes a file without a name in a directory (Linux 3.11); EOPNOTSUPP, EISDIR or ENOENT where the file system cannot. */
export const O_TMPFILE = 0o20000000 | O_DIRECTORY

/** openat2(2) resolution flags, Linux 5.6. */
export const RESOLVE = { NO_XDEV: 1, NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8 } as const

/** Flags of the *at() calls. */
export const AT = { SYMLINK_NOFOLLOW: 0x100, REMOVEDIR: 0x200, SYMLINK_FOLLOW: 0x400, EMPTY_PATH: 0x1000 } as const

/** File types of `Stat.mode`. */
export const S = {
  IFMT: 0o170000,
  IFSOCK: 0o140000,
  IFLNK: 0o120000,
  IFREG: 0o100000,
  IFBLK: 0o060000,
  IFDIR: 0o040000,
  IFCHR: 0o020000,
  IFIFO: 0o010000,
  ISVTX: 0o1000,
} as const

/** Address families, types and flags of socket(2), levels of setsockopt(2), flags of send(2) and recv(2): of x86-64 and arm64. */
export const AF = { UNIX: 1, INET: 2, BRIDGE: 7, INET6: 10, NETLINK: 16, PACKET: 17 } as const
export const SOCK = { STREAM: 1, DGRAM: 2, RAW: 3, SEQPACKET: 5, NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const
export const SOL = { SOCKET: 1, PACKET: 263, NETLINK: 270 } as const
export const MSG = { DONTWAIT: 0x40, NOSIGNAL: 0x4000 } as const

export const LOCK = { SH: 1, EX: 2, NB: 4, UN: 8 } as const
export const POLLIN = 1
export const POLLPRI = 2
export const POLLOUT = 4
export const RENAME_NOREPLACE = 1
/** ioctl that shares a whole file's extents with another file of the same file system (ioctl_ficlone(2)). */
export const FICLONE = 0x40049409
