import { ptr } from "bun:ffi"
import { word } from "./guards.ts"
import { checked, libc } from "./libc.ts"

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

// --- internal ---

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
