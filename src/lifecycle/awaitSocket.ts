import { watch } from "node:fs"
import { basename, dirname } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../linux/constants.ts"
import { errorCode } from "../linux/errors.ts"
import { close, openBeneath, openBeneathMounts, verified, withDescriptor } from "../linux/files.ts"
import { type SocketAccess, setSocketAccess } from "../sockets/access.ts"
import { pinDirectory } from "../state/pin.ts"

/** Where the kernel tells of no new name, it is looked for this often, in milliseconds. */
const CADENCE = 25

/**
 * Waits until a VMM has made its control socket, gives it this owner and mode, and returns a descriptor (O_PATH) of that
 * very socket: whoever swaps the name later swaps nothing of ours. The directory it is in may be the VMM's own, the one
 * above it must be root's alone. Rejects with the signal's reason when that is aborted. The caller closes it.
 */
export async function awaitSocket(path: string, access: SocketAccess, signal: AbortSignal): Promise<number> {
  const dir = openDirectory(dirname(path))
  try {
    for (;;) {
      const fd = find(dir, basename(path))
      if (fd !== undefined) return verified(fd, () => setSocketAccess(dir, basename(path), access))
      await newName(dir, signal)
      signal.throwIfAborted()
    }
  } finally {
    close(dir)
  }
}

// --- internal ---

function openDirectory(path: string): number {
  return withDescriptor(pinDirectory(dirname(path)), (parent) =>
    openBeneathMounts(parent, basename(path), O.PATH | O_DIRECTORY | O_NOFOLLOW),
  )
}

function find(dir: number, name: string): number | undefined {
  try {
    return openBeneath(dir, name, O.PATH | O_NOFOLLOW)
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined
    throw error
  }
}

function newName(dir: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      watcher?.close()
      signal.removeEventListener("abort", done)
      resolve()
    }
    const timer = setTimeout(done, CADENCE)
    const watcher = watchFor(dir, done)
    signal.addEventListener("abort", done, { once: true })
  })
}

function watchFor(dir: number, seen: () => void): { close(): void } | undefined {
  try {
    return watch(`/proc/self/fd/${dir}`, { persistent: false }, seen).on("error", () => {})
  } catch {
    // No watch to be had: a limit of the host. The cadence does.
    return undefined
  }
}
