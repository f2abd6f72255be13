import { pidfdExited } from "../../base/linux/pidfd.ts"
import { entryUrl } from "../../base/terms/compiled.ts"

/** Kept from the start of this program: a plugin that root runs for another user finds no `Worker` any more. */
const Thread = Worker

/** How often to look at the pidfd where no thread can be started, in milliseconds. */
const POLL_MS = 250

/**
 * Resolves when the process of a pidfd has ended, also one that is no child of ours; never rejects. A thread of its own
 * waits in the kernel (poll(2)). The caller does not close the pidfd before.
 */
export function awaitExit(pidfd: number): Promise<void> {
  if (pidfdExited(pidfd)) return Promise.resolve()
  return new Promise((resolve) => {
    const worker = new Thread(entryUrl("src/host/process/exitWorker.ts"))
    worker.onmessage = () => {
      worker.terminate()
      resolve()
    }
    worker.onerror = () => {
      const timer = setInterval(() => {
        if (!pidfdExited(pidfd)) return
        clearInterval(timer)
        resolve()
      }, POLL_MS)
    }
    worker.postMessage(pidfd)
    worker.unref()
  })
}
