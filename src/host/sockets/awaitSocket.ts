import { basename, dirname } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { close, openBeneath, openBeneathMounts, verified, withDescriptor } from "../../base/linux/files.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"
import { changesOf } from "../../store/files/watch.ts"
import { type SocketAccess, setSocketAccess } from "./access.ts"

/** Where the kernel does not report new names, the directory is read this often. */
const POLL_MS = 25

/**
 * Waits until a VMM has made its control socket, gives it this owner and mode, and returns a descriptor (O_PATH) of that
 * socket: swapping the name later changes nothing for us. Its directory may be the VMM's own; the directory above must be
 * root's alone. Rejects with the signal's reason when it is aborted. The caller closes the descriptor.
 */
export async function awaitSocket(path: string, access: SocketAccess, signal: AbortSignal): Promise<number> {
  const dir = openSocketDirectory(dirname(path))
  try {
    // Watch first, then look: a name that appears in between is not missed.
    using names = changesOf(`/proc/self/fd/${dir}`, { pollMs: POLL_MS })
    for (;;) {
      const fd = unlessAbsent(() => openBeneath(dir, basename(path), O.PATH | O_NOFOLLOW))
      if (fd !== undefined) return verified(fd, () => setSocketAccess(dir, basename(path), access))
      await names.next(signal)
      signal.throwIfAborted()
    }
  } finally {
    close(dir)
  }
}

/** Opens (O_PATH) the directory of a control socket, which may be the VMM's own. The caller closes it. */
export function openSocketDirectory(path: string): number {
  return withDescriptor(pinDirectory(dirname(path)), (parent) =>
    openBeneathMounts(parent, basename(path), O.PATH | O_DIRECTORY | O_NOFOLLOW),
  )
}
