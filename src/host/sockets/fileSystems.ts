/** File systems whose sockets can be judged from here: the inode that bind(2) makes is the one that a path leads to. */
const ALLOWED: ReadonlyMap<number, string> = new Map([
  [0x0000ef53, "ext4"],
  [0x58465342, "xfs"],
  [0x9123683e, "btrfs"],
  [0x01021994, "tmpfs"],
])

/** The names of others (linux/magic.h): a live socket on these can look dead, or it is not known that none does. */
const OTHERS: ReadonlyMap<number, string> = new Map([
  [0x00006969, "NFS"],
  [0x65735546, "FUSE (or virtiofs)"],
  [0x01021997, "9p"],
  [0x794c7630, "overlay"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB"],
  [0x00c36400, "Ceph"],
  [0x00009fa0, "proc"],
  [0x62656572, "sysfs"],
  [0x63677270, "cgroup2"],
  [0x0000f15f, "eCryptfs"],
  [0x2fc12fc1, "ZFS"],
  [0xf2f52010, "F2FS"],
  [0xca451a4e, "bcachefs"],
  [0x858458f6, "ramfs"],
  [0x00004d44, "FAT"],
  [0x01161970, "GFS2"],
  [0x5346414f, "AFS"],
  [0x7461636f, "OCFS2"],
])

/** What is known of a file system by its magic number: its name, and whether sockets on it can be swept. Pure. */
export function fileSystemNamed(magic: number): { readonly name: string; readonly allowed: boolean } {
  const allowed = ALLOWED.get(magic)
  if (allowed !== undefined) return { name: allowed, allowed: true }
  return { name: OTHERS.get(magic) ?? `type 0x${magic.toString(16)}`, allowed: false }
}
