import { O } from "./constants.ts"
import { openAt, withDescriptor } from "./files.ts"
import { AT_FDCWD, descriptor } from "./guards.ts"
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

// --- internal ---

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
