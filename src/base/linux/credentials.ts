import { ptr } from "bun:ffi"
import { word } from "./guards.ts"
import { checked, libc, rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/** Capabilities (capabilities(7)) by their numbers in linux/capability.h; all of them are in the first 32. */
export const CAP = { CHOWN: 0, DAC_OVERRIDE: 1, FOWNER: 3, SETUID: 7 } as const

/** Whether all of these capabilities are effective in this thread (capget(2)). */
export function hasCapabilities(...wanted: readonly number[]): boolean {
  readCapabilities()
  return wanted.every((capability) => ((OWN[0] ?? 0) & (1 << capability)) !== 0)
}

/**
 * Runs `work`, which must not wait, as this thread with another file system uid (setfsuid(2)) and with no effective
 * capability but CAP_CHOWN and CAP_DAC_OVERRIDE. Without CAP_FOWNER `work` can remove a name from a sticky directory only
 * if that uid owns the file or the directory (unlink(2), EPERM). Only this thread changes, so a process that dies in
 * between leaves nothing behind. Throws when a user namespace does not have the uid.
 */
export function asFileOwner<T>(uid: number, work: () => T): T {
  readCapabilities()
  LESS.set(OWN)
  LESS[0] = (1 << CAP.CHOWN) | (1 << CAP.DAC_OVERRIDE)
  LESS[3] = 0
  const before = libc.setfsuid(word("uid", uid))
  try {
    if (libc.setfsuid(NOBODY) !== uid) throw new Error(`uid ${uid} cannot be taken on in this user namespace`)
    // setfsuid(2) has dropped these two capabilities as well.
    checked("capset", () => libc.capset(HEADER_AT, LESS_AT))
    return work()
  } finally {
    // Straight to libc: no injected fault may keep this thread from getting its credentials back.
    libc.setfsuid(word("uid", before >>> 0))
    libc.capset(HEADER_AT, OWN_AT)
  }
}

/**
 * Runs `work`, which must not wait, as this thread with an effective uid of this process's own, when it is root: what the
 * kernel counts for each user (inotify instances: 128) it counts for this process alone then. Root's other programs keep
 * theirs, however many processes do this. Where a user namespace has no such uid, `work` runs as it is.
 */
export function countedApart<T>(work: () => T): T {
  if (process.geteuid?.() !== 0) return work()
  readCapabilities()
  const dumpable = prctl(PR_GET_DUMPABLE)
  try {
    // Of this thread alone, as glibc's function does not (setresuid(2)). The saved one stays: the way back.
    rawSyscall("setresuid", syscallNumber("setresuid"), [UNCHANGED, NOBODYS_UIDS + process.pid, UNCHANGED])
  } catch {
    return work()
  }
  try {
    return work()
  } finally {
    // As above: straight to libc.
    libc.syscall(syscallNumber("setresuid"), UNCHANGED, 0, UNCHANGED, 0, 0, 0)
    libc.capset(HEADER_AT, OWN_AT)
    // A change of uid has taken it away, and with it what others may see of this process in /proc.
    if (dumpable === 1) prctl(PR_SET_DUMPABLE, dumpable)
  }
}

// --- internal ---

/** Above this nobody's uids are: programs that take them for signed numbers cannot use them. No pid reaches 2^22. */
const NOBODYS_UIDS = 0x8000_0000

const PR_GET_DUMPABLE = 3
const PR_SET_DUMPABLE = 4

function prctl(what: number, value = 0): number {
  return rawSyscall("prctl", syscallNumber("prctl"), [what, value, 0, 0, 0])
}

const UNCHANGED = 0xffff_ffff

/** `struct __user_cap_header_struct`: version 3, pid 0, which is this thread. */
const HEADER = new Uint32Array(new ArrayBuffer(8))
HEADER[0] = 0x2008_0522
const HEADER_AT = ptr(HEADER)

/** Two `struct __user_cap_data_struct`: effective, permitted, inheritable; the lower 32 capabilities first. */
const OWN = new Uint32Array(new ArrayBuffer(24))
const OWN_AT = ptr(OWN)
const LESS = new Uint32Array(new ArrayBuffer(24))
const LESS_AT = ptr(LESS)

/** A uid that setfsuid(2) never takes: the call then only returns the current one. */
const NOBODY = 0xffff_ffff

function readCapabilities(): void {
  HEADER[0] = 0x2008_0522
  checked("capget", () => libc.capget(HEADER_AT, OWN_AT))
}
