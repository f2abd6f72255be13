import { AT } from "./constants.ts"
import { readStart } from "./content.ts"
import { SyscallError, unlessAbsent } from "./errors.ts"
import { packString } from "./exec.ts"
import { withDescriptor } from "./files.ts"
import { cPath, descriptor, EMPTY_PATH, fixed, type Path, shown } from "./guards.ts"
import { checked, libc, rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"
import { packMountAttr, STATX_SIZE } from "./structs.ts"

/** Attributes of a mount (mount_setattr(2)). */
export const MOUNT_ATTR = { RDONLY: 1, NOSUID: 2, NODEV: 4, NOEXEC: 8, NOSYMFOLLOW: 0x20_0000 } as const

/** umount2(2) flags. */
export const UMOUNT = { DETACH: 2, EXPIRE: 4, NOFOLLOW: 8 } as const

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

/** A file system to mount. */
export interface NewMount {
  readonly type: string
  /** A device, for those that have one. */
  readonly source: string
  /** As mount(8) takes them behind -o: `noatime`, `size=1M`. */
  readonly options: readonly string[]
  /** Of `MOUNT_ATTR`. */
  readonly attributes: number
}

/**
 * A detached mount of a file system (fsopen(2), fsmount(2), Linux 5.2), which nobody can reach yet. Closing its descriptor before it is
 * attached undoes it. The file system's own words are in the error where it is refused.
 */
export function makeMount({ type, source, options, attributes }: NewMount): number {
  return withDescriptor(
    rawSyscall("fsopen", syscallNumber("fsopen"), [packString(type), FSOPEN_CLOEXEC], type),
    (fs) => {
      const configure = (command: number, key: string | undefined, value: string | undefined) => {
        const words = [key, value].map((word) => (word === undefined ? 0 : packString(word)))
        rawSyscall("fsconfig", syscallNumber("fsconfig"), [fs, command, ...words, 0], `${type} ${key ?? source}`)
      }
      try {
        configure(FSCONFIG.setString, "source", source)
        for (const option of options) {
          const at = option.indexOf("=")
          if (at === -1) configure(FSCONFIG.setFlag, option, undefined)
          else configure(FSCONFIG.setString, option.slice(0, at), option.slice(at + 1))
        }
        configure(FSCONFIG.create, undefined, undefined)
      } catch (error) {
        const said = wordsOf(fs)
        if (said === "" || !(error instanceof SyscallError)) throw error
        throw new SyscallError(error.syscall, error.errno, said, error.path)
      }
      return rawSyscall("fsmount", syscallNumber("fsmount"), [fs, FSOPEN_CLOEXEC, attributes], type)
    },
  )
}

/**
 * The id of the mount that a descriptor is on, which no other mount of this boot has (statx(2), STATX_MNT_ID_UNIQUE, Linux 6.8).
 * Undefined on older kernels, which give a mount the id of one that is gone.
 */
export function uniqueMountId(fd: number): string | undefined {
  const stat = fixed(STATX_SIZE)
  const args = [descriptor(fd), EMPTY_PATH, AT.EMPTY_PATH, STATX_MNT_ID_UNIQUE, stat]
  rawSyscall("statx", syscallNumber("statx"), args)
  const view = new DataView(stat.buffer)
  const told = (view.getUint32(0, true) & STATX_MNT_ID_UNIQUE) !== 0
  return told ? String(view.getBigUint64(STATX_MNT_ID_OFFSET, true)) : undefined
}

/** Attaches a detached mount on the very inode of a descriptor (move_mount(2), Linux 5.2). */
export function attachTree(tree: number, target: number): void {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
  const args = [descriptor(tree), EMPTY_PATH, descriptor(target), EMPTY_PATH, flags]
  rawSyscall("move_mount", syscallNumber("move_mount"), args)
}

/**
 * Detaches what is mounted on the name `name` of a directory (umount2(2) with UMOUNT_NOFOLLOW). EINVAL when nothing
 * is, or the name is a symlink; EBUSY while it is in use, unless UMOUNT.DETACH is given; EAGAIN with UMOUNT.EXPIRE where it was not
 * marked by such a call before, or was used since.
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

/** A path of /proc/PID/mountinfo, read as latin1, without its escapes (proc_pid_mountinfo(5)): `\040` is a space. Pure. */
export function unescapeMountPath(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

/** A path's bytes, as latin1, as the kernel writes them there. Pure. */
export function escapeMountPath(path: string): string {
  return path.replace(/[ \t\n\\]/g, (byte) => `\\${byte.charCodeAt(0).toString(8).padStart(3, "0")}`)
}

// --- internal ---

const STATX_MNT_ID_UNIQUE = 0x4000
const STATX_MNT_ID_OFFSET = 144

const FSOPEN_CLOEXEC = 1
const FSCONFIG = { setFlag: 0, setString: 1, create: 6 } as const
const WORDS_MAX_BYTES = 1024

/** What a file system says of a refusal, one message at each read(2): `e ext4: …`. */
function wordsOf(fs: number): string {
  const said: string[] = []
  for (;;) {
    const line = unlessAbsent(() => readStart(fs, WORDS_MAX_BYTES), ["ENODATA"])
    if (line === undefined || said.length > 8) return said.join("; ")
    said.push(
      new TextDecoder()
        .decode(line)
        .replace(/^[ewi] /, "")
        .trim(),
    )
  }
}

const OPEN_TREE_CLONE = 1
const OPEN_TREE_CLOEXEC = 0o2000000
const MOVE_MOUNT_F_EMPTY_PATH = 0x4
const MOVE_MOUNT_T_EMPTY_PATH = 0x40
const MS_PRIVATE = 1 << 18
