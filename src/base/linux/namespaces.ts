import { ptr } from "bun:ffi"
import { O } from "./constants.ts"
import { errorCode } from "./errors.ts"
import { openAt, withDescriptor } from "./files.ts"
import { AT_FDCWD, descriptor, fixed } from "./guards.ts"
import { checked, libc } from "./libc.ts"

/**
 * Runs `work`, which must not wait for anything, with this thread in another network namespace (setns(2)): sockets and
 * processes it makes are of that one. The thread is back in its own afterwards, however `work` ends.
 */
export function inNetworkNamespace<T>(fd: number, work: () => T): T {
  return returning(() => {
    checked("setns", () => libc.setns(descriptor(fd), CLONE_NEWNET), "network namespace")
    return work()
  })
}

/** A descriptor of a new network namespace (unshare(2)). The namespace ends with its last user. The caller closes it. */
export function newNetworkNamespace(): number {
  return returning(() => {
    checked("unshare", () => libc.unshare(CLONE_NEWNET), "network namespace")
    return ownNamespace()
  })
}

/**
 * The number of a mount namespace that is given to no other until the next boot, as its inode's is as soon as it is gone
 * (ioctl_nsfs(2), NS_GET_MNTNS_ID: Linux 6.11); undefined on an older kernel.
 */
export function mountNamespaceId(fd: number): string | undefined {
  const id = fixed(8)
  try {
    checked("ioctl NS_GET_MNTNS_ID", () => libc.ioctl(descriptor(fd), NS_GET_MNTNS_ID, ptr(id)), "mount namespace")
  } catch (error) {
    if (errorCode(error) === "ENOTTY") return undefined
    throw error
  }
  return String(new DataView(id.buffer).getBigUint64(0, true))
}

// --- internal ---

/** _IOR(0xb7, 5, __u64) of linux/nsfs.h. */
const NS_GET_MNTNS_ID = 0x8008_b705

const CLONE_NEWNET = 0x4000_0000

/** The thread's namespace: while `work` runs it is not the process's. */
function ownNamespace(): number {
  return openAt(AT_FDCWD, "/proc/thread-self/ns/net", O.RDONLY)
}

function returning<T>(work: () => T): T {
  return withDescriptor(ownNamespace(), (own) => {
    try {
      return work()
    } finally {
      // A thread left in another namespace would act on another network.
      if (libc.setns(own, CLONE_NEWNET) !== 0) process.abort()
    }
  })
}
