import { pidfdExited } from "../../base/linux/pidfd.ts"
import { entryUrl } from "../../base/terms/compiled.ts"

/** As it was when this program started: a plugin run as root may start none. */
const Thread = Worker

/** Where no thread can be had, the pidfd is looked at this often, in milliseconds. */
const POLL_MS = 250

/**
 * Resolves when the process of a pidfd has ended, of which no child of ours is told otherwise; never rejects. It is
 * waited for in the kernel (poll(2) on the pidfd), by a thread of its own. The pidfd must stay open until then.
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
  })
}
