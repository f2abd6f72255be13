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

/** A descriptor of a new network namespace (unshare(2)), which goes with the last use of it. The caller closes it. */
export function newNetworkNamespace(): number {
  return returning(() => {
    checked("unshare", () => libc.unshare(CLONE_NEWNET), "network namespace")
    return ownNamespace()
  })
}

// --- internal ---

const CLONE_NEWNET = 0x4000_0000

/** This thread's, not the process's: they differ while `work` runs. */
function ownNamespace(): number {
  return openAt(AT_FDCWD, "/proc/thread-self/ns/net", O.RDONLY)
}

function returning<T>(work: () => T): T {
  return withDescriptor(ownNamespace(), (own) => {
    try {
      return work()
    } finally {
      // Of a thread that is left in another namespace nothing more can be believed.
      if (libc.setns(own, CLONE_NEWNET) !== 0) process.abort()
    }
  })
}
