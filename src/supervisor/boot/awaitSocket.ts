import { watch } from "node:fs"
import { basename, dirname } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { close, openBeneath, openBeneathMounts, verified, withDescriptor } from "../../base/linux/files.ts"
import { type SocketAccess, setSocketAccess } from "../../host/sockets/access.ts"
import { pinDirectory } from "../../store/files/pinDirectory.ts"

/** Where the kernel tells of no new name, it is looked for this often, in milliseconds. */
const POLL_MS = 25

/**
 * Waits until a VMM has made its control socket, gives it this owner and mode, and returns a descriptor (O_PATH) of that
 * very socket: whoever swaps the name later swaps nothing of ours. The directory it is in may be the VMM's own, the one
 * above it must be root's alone. Rejects with the signal's reason when that is aborted. The caller closes it.
 */
export async function awaitSocket(path: string, access: SocketAccess, signal: AbortSignal): Promise<number> {
  const dir = openSocketDirectory(dirname(path))
  // Before the first look, so that no name comes between the two unseen.
  const names = watchNames(dir)
  try {
    for (;;) {
      const fd = find(dir, basename(path))
      if (fd !== undefined) return verified(fd, () => setSocketAccess(dir, basename(path), access))
      await names.next(signal)
      signal.throwIfAborted()
    }
  } finally {
    names.close()
    close(dir)
  }
}

/** Opens (O_PATH) the directory of a control socket, which may be a VMM's own. The caller closes it. */
export function openSocketDirectory(path: string): number {
  return withDescriptor(pinDirectory(dirname(path)), (parent) =>
    openBeneathMounts(parent, basename(path), O.PATH | O_DIRECTORY | O_NOFOLLOW),
  )
}

// --- internal ---

function find(dir: number, name: string): number | undefined {
  try {
    return openBeneath(dir, name, O.PATH | O_NOFOLLOW)
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined
    throw error
  }
}

interface Names {
  /** Resolves when there may be a new name since the last call, or the signal is aborted. */
  next(signal: AbortSignal): Promise<void>
  close(): void
}

function watchNames(dir: number): Names {
  let news = false
  let wake = () => {}
  const watcher = watchFor(dir, () => {
    news = true
    wake()
  })
  return {
    next: (signal) =>
      new Promise((resolve) => {
        const done = () => {
          clearTimeout(timer)
          signal.removeEventListener("abort", done)
          news = false
          resolve()
        }
        wake = done
        const timer = setTimeout(done, POLL_MS)
        signal.addEventListener("abort", done, { once: true })
        if (news || signal.aborted) done()
      }),
    close: () => watcher?.close(),
  }
}

function watchFor(dir: number, seen: () => void): { close(): void } | undefined {
  try {
    return watch(`/proc/self/fd/${dir}`, { persistent: false }, seen).on("error", () => {})
  } catch {
    // No watch to be had: a limit of the host. The cadence does.
    return undefined
  }
}
