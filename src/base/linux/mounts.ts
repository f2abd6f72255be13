import { AT } from "./constants.ts"
import { cPath, descriptor, EMPTY_PATH, type Path, shown } from "./guards.ts"
import { checked, libc, rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"
import { packMountAttr } from "./structs.ts"

/** Attributes of a mount (mount_setattr(2)). */
export const MOUNT_ATTR = { RDONLY: 1, NOSUID: 2, NODEV: 4, NOEXEC: 8, NOSYMFOLLOW: 0x20_0000 } as const

/** umount2(2) flags. */
export const UMOUNT = { DETACH: 2, NOFOLLOW: 8 } as const

/**
 * A detached mount of the very inode of a descriptor, without what is mounted below it (open_tree(2), Linux 5.2). Nobody
 * can reach the mount yet. Closing its descriptor before it is attached undoes it.
 */
export function cloneTree(fd: number): number {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT.EMPTY_PATH
  return rawSyscall("open_tree", syscallNumber("open_tree"), [descriptor(fd), EMPTY_PATH, flags])
}

/** Sets and clears attributes of a mount, and makes it private (mount_setattr(2), Linux 5.12). */
export function setMountAttributes(tree: number, set: number, clear: number): void {
  const attributes = packMountAttr(set, clear, MS_PRIVATE)
  const args = [descriptor(tree), EMPTY_PATH, AT.EMPTY_PATH, attributes, attributes.length]
  rawSyscall("mount_setattr", syscallNumber("mount_setattr"), args)
}

/** Attaches a detached mount on the very inode of a descriptor (move_mount(2), Linux 5.2). */
export function attachTree(tree: number, target: number): void {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
  const args = [descriptor(tree), EMPTY_PATH, descriptor(target), EMPTY_PATH, flags]
  rawSyscall("move_mount", syscallNumber("move_mount"), args)
}

/**
 * Detaches what is mounted on the name `name` of a directory (umount2(2) with UMOUNT_NOFOLLOW). EINVAL when nothing
 * is, or the name is a symlink; EBUSY while it is in use, unless UMOUNT.DETACH is given.
 */
export function unmountAt(dir: number, name: Path, flags = 0): void {
  const prefix = new TextEncoder().encode(`/proc/self/fd/${descriptor(dir)}/`)
  const bytes = typeof name === "string" ? new TextEncoder().encode(name) : name
  const path = new Uint8Array(prefix.length + bytes.length)
  path.set(prefix)
  path.set(bytes, prefix.length)
  const target = cPath(path)
  checked("umount2", () => libc.umount2(target, flags | UMOUNT.NOFOLLOW), shown(name))
}

// --- internal ---

const OPEN_TREE_CLONE = 1
const OPEN_TREE_CLOEXEC = 0o2000000
const MOVE_MOUNT_F_EMPTY_PATH = 0x4
const MOVE_MOUNT_T_EMPTY_PATH = 0x40
const MS_PRIVATE = 1 << 18
