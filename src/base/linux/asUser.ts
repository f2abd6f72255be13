import { ptr } from "bun:ffi"
import { word } from "./guards.ts"
import { checked, libc, rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/** Whose rights to files are taken on. */
export interface FileUser {
  readonly uid: number
  readonly gid: number
  /** All of its groups. */
  readonly groups: readonly number[]
}

/**
 * Runs `work`, which must not wait, as this thread with a user's rights to files and no others: its file system uid, gid and groups
 * (setfsuid(2), setfsgid(2), setgroups(2) of the thread alone), and no effective capability (capset(2)), so that neither
 * CAP_DAC_OVERRIDE nor CAP_SYS_PTRACE opens what the user could not. Only this thread changes, and a process that dies in between
 * leaves nothing behind. Throws, with `work` not run, when any of it is refused.
 */
export function asUser<T>({ uid, gid, groups }: FileUser, work: () => T): T {
  const own = readCapabilities()
  const none = new Uint32Array(own)
  none[EFFECTIVE_LOW] = 0
  none[EFFECTIVE_HIGH] = 0
  const before = ownGroups()
  const list = new Uint32Array(groups.map((group) => word("gid", group)))
  try {
    setGroups(list)
    rawSyscall("setfsgid", syscallNumber("setfsgid"), [word("gid", gid)])
    libc.setfsuid(word("uid", uid))
    const now = rawSyscall("setfsgid", syscallNumber("setfsgid"), [NOBODY])
    if (libc.setfsuid(NOBODY) !== uid || now !== gid)
      throw new Error(`uid ${uid} cannot be taken on in this user namespace`)
    checked("capset", () => libc.capset(ptr(HEADER), ptr(none)))
    return work()
  } finally {
    // Straight to libc: no injected fault may keep this thread from getting its credentials back.
    libc.capset(ptr(HEADER), ptr(own))
    libc.setfsuid(process.geteuid?.() ?? 0)
    libc.syscall(syscallNumber("setfsgid"), process.getegid?.() ?? 0, 0, 0, 0, 0, 0)
    libc.syscall(syscallNumber("setgroups"), before.length, before.length === 0 ? 0 : ptr(before), 0, 0, 0, 0)
  }
}

// --- internal ---

/** `struct __user_cap_header_struct`: version 3, pid 0, which is this thread. */
const HEADER = new Uint32Array(new ArrayBuffer(8))

/** Two `struct __user_cap_data_struct`: effective, permitted, inheritable; the lower 32 capabilities first. */
const EFFECTIVE_LOW = 0
const EFFECTIVE_HIGH = 3

/** An id that setfsuid(2) and setfsgid(2) never take: the calls then only return the current one. */
const NOBODY = 0xffff_ffff

function readCapabilities(): Uint32Array {
  HEADER[0] = 0x2008_0522
  const own = new Uint32Array(new ArrayBuffer(24))
  checked("capget", () => libc.capget(ptr(HEADER), ptr(own)))
  return own
}

function ownGroups(): Uint32Array {
  const count = rawSyscall("getgroups", syscallNumber("getgroups"), [0, 0])
  const groups = new Uint32Array(new ArrayBuffer(4 * Math.max(1, count)))
  if (count > 0) rawSyscall("getgroups", syscallNumber("getgroups"), [count, new Uint8Array(groups.buffer)])
  return groups.subarray(0, count)
}

function setGroups(groups: Uint32Array): void {
  const list: number | Uint8Array = groups.length === 0 ? 0 : new Uint8Array(groups.buffer)
  rawSyscall("setgroups", syscallNumber("setgroups"), [groups.length, list])
}
