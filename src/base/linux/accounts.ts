import { CString, type Pointer, ptr, read } from "bun:ffi"
import { packString } from "./exec.ts"
import { word } from "./guards.ts"
import { libc } from "./libc.ts"

/** An entry of the user database. */
export interface Account {
  readonly name: string
  readonly shell: string
  /** The group that its logins begin with. */
  readonly gid: number
}

/** The account with this uid, as the host's name services know it (getpwuid(3)); undefined when they know none. */
export function accountOf(uid: number): Account | undefined {
  const found = libc.getpwuid(word("uid", uid))
  if (found === null) return undefined
  const entry = Number(found) as Pointer
  return { name: textAt(entry, 0), shell: textAt(entry, SHELL_OFFSET), gid: read.u32(entry, GID_OFFSET) }
}

/** The groups of an account, its own among them, as a login gets them (getgrouplist(3)). Throws where there are more than 65536. */
export function groupsOf({ name, gid }: Pick<Account, "name" | "gid">): readonly number[] {
  const groups = new Uint32Array(new ArrayBuffer(4 * GROUPS_MAX_COUNT))
  const count = new Int32Array(new ArrayBuffer(4))
  count[0] = GROUPS_MAX_COUNT
  if (libc.getgrouplist(ptr(packString(name)), word("gid", gid), ptr(groups), ptr(count)) === -1)
    throw new Error(`${name} has more than ${GROUPS_MAX_COUNT} groups`)
  return [...groups.subarray(0, count[0])]
}

// --- internal ---

/** `struct passwd` of glibc and musl, 64 bits: name, password, u32 uid, u32 gid, gecos, directory, shell. */
const SHELL_OFFSET = 40
const GID_OFFSET = 20

/** NGROUPS_MAX of linux/limits.h. */
const GROUPS_MAX_COUNT = 65_536

function textAt(entry: Pointer, offset: number): string {
  const address = Number(read.ptr(entry, offset)) as Pointer
  return Number(address) === 0 ? "" : new CString(address).toString()
}
