import { accountOf, groupsOf } from "../../base/linux/accounts.ts"
import { asUser, type FileUser } from "../../base/linux/asUser.ts"
import { O, S } from "../../base/linux/constants.ts"
import { fileSystemMagic } from "../../base/linux/fileSystem.ts"
import { handOn, isType, openUnhanded, statDescriptor, takeHandedBack, verified } from "../../base/linux/files.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"

/** Who asks root's helper. */
export interface Caller extends FileUser {
  readonly name: string
}

/** The user that sudo says has asked. Throws UNTRUSTED unless that is one of this host's, and not root. */
export function callerOf(uid: string | undefined): Caller {
  const refuse = (why: string) =>
    new Failure("UNTRUSTED", `__helper: ${why}`, { hint: "it is started by sudo, for a user", subject: "SUDO_UID" })
  if (uid === undefined) throw refuse("sudo has not said who asks")
  if (!/^(?:0|[1-9]\d{0,9})$/.test(uid) || Number(uid) >= FIRST_NOBODYS_UID) throw refuse("SUDO_UID is no uid")
  if (uid === "0") throw refuse("root needs no helper")
  const account = accountOf(Number(uid))
  if (account === undefined) throw refuse(`this host has no user with uid ${uid}`)
  return { uid: Number(uid), gid: account.gid, groups: groupsOf(account), name: account.name }
}

/** Files that a caller may read, each opened with the caller's rights and held: what root stages is that very file. */
export interface Sources extends Disposable {
  /**
   * The path by which root opens the file that the caller calls `path`. The caller's rights open it, no magic link of /proc is
   * followed, and it must be a regular file with something in it, on a disk of this host. Throws BAD_FILE otherwise.
   */
  take(setting: string, path: string): string
  /** As `take`, for as long as `use` takes. */
  lend<T>(setting: string, path: string, use: (path: string) => Promise<T>): Promise<T>
  /** Text in which the caller's own paths stand for those of `take`. */
  shown(text: string): string
}

/** No more files are held for one VM. */
const HELD_MAX_COUNT = 64

/** Begins to open files for a caller. Disposed of when the VM has ended. */
export function openSources(caller: Caller): Sources {
  const held = new Map<string, Held>()
  const hold = (setting: string, path: string): { readonly token: string; readonly file: Held } => {
    // As it was at first, also for a boot after the first.
    for (const [token, file] of held) if (file.path === path) return { token, file }
    if (held.size >= HELD_MAX_COUNT) throw bad(setting, `more than ${HELD_MAX_COUNT} files are held for this VM`)
    const token = handOn(openFor(caller, setting, path))
    const file = { path, stays: false, lent: 0 }
    held.set(token, file)
    return { token, file }
  }
  return {
    take(setting, path) {
      const { token, file } = hold(setting, path)
      file.stays = true
      return token
    },
    async lend(setting, path, use) {
      const { token, file } = hold(setting, path)
      file.lent++
      try {
        return await use(token)
      } finally {
        // Another may wait with it, and would open whatever has the descriptor's number by then.
        if (--file.lent === 0 && !file.stays && held.delete(token)) takeHandedBack(token)
      }
    },
    shown: (text) => text.replaceAll(/\/proc\/self\/fd\/\d+/g, (token) => held.get(token)?.path ?? token),
    [Symbol.dispose]() {
      for (const token of held.keys()) takeHandedBack(token)
      held.clear()
    },
  }
}

// --- internal ---

/** A file that is open for the VM. */
interface Held {
  /** What the caller calls it. */
  readonly path: string
  /** Whether it is held until the VM has ended; else as long as it is lent. */
  stays: boolean
  /** How many use it now. */
  lent: number
}

/** The last uid that signed numbers hold, and the last one, mean nobody. */
const FIRST_NOBODYS_UID = 0xffff_fffe

/**
 * File systems whose files root may open anew, as the caller did: not /proc and its like, whose files tell each reader something else;
 * not FUSE, whose owner answers when it pleases; not those of other hosts, where root is nobody.
 */
const LOCAL: ReadonlySet<number> = new Set([
  ...[0x0000ef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0x2fc12fc1, 0xf2f52010, 0xca451a4e],
  ...[0x73717368, 0xe0f5e1e2, 0x00009660, 0x00004d44, 0x858458f6, 0x2011bab0],
])

function openFor(caller: Caller, setting: string, path: string): number {
  let fd: number
  try {
    fd = asUser(caller, () => openUnhanded(path, O.RDONLY | O.NONBLOCK))
  } catch (error) {
    throw bad(setting, `${path} cannot be read by ${caller.name}: ${reasonOf(error)}`, error)
  }
  return verified(fd, () => {
    const stat = statDescriptor(fd)
    if (!isType(stat, S.IFREG)) throw bad(setting, `${path} is not a regular file`)
    if (stat.size === 0) throw bad(setting, `${path} is empty`)
    if (!LOCAL.has(fileSystemMagic(fd))) throw bad(setting, `${path} is not on a disk of this host: copy it to one`)
  })
}

function reasonOf(error: unknown): string {
  return messageOf(error).replace(/^\w+: /, "")
}

function bad(setting: string, words: string, cause?: unknown): Failure {
  return new Failure("BAD_FILE", `${setting}: ${words}`, { subject: setting, cause })
}
