import type { Exit } from "banger"
import { entryUrl } from "../../base/terms/compiled.ts"
import type { Log } from "../../base/terms/log.ts"
import { once } from "../../base/terms/once.ts"
import type { FromWatchdog, Protected, ToWatchdog } from "./watchdogWorker.ts"

/** As it was when this program started: a plugin run as root may start none. */
const Thread = Worker

/**
 * Watches plugin code that could hold this thread for ever (`while (true) {}`), which no timer of this thread's own
 * could notice. Its thread cleans up and ends the process when this thread does not answer.
 */
export interface Watchdog {
  /** Runs plugin code that may hold this thread for `limit` milliseconds; `what` names it in the message. */
  guard<T>(what: string, limit: number, work: () => Promise<T>): Promise<T>
  /** As `guard`, from when `work` says that plugin code is about to run, if it does. */
  guardFrom<T>(what: string, limit: number, work: (begin: () => void) => Promise<T>): Promise<T>
  /** Runs work of our own, which may hold this thread for `limit` milliseconds where it is watched. */
  allow<T>(what: string, limit: number, work: () => Promise<T>): Promise<T>
  /** From now on there is a VM to clean up. */
  protect(vm: Protected): void
  /** What the VM's end is to be called: `"started"` while it may run, then its exit. */
  noteEnd(exit: Exit | "started"): void
  /** The VM is cleaned up, or kept. */
  release(): void
  /** No code of the plugin can run until the next `guard`: its thread ends until then. */
  dismiss(): void
  dispose(): void
}

/**
 * The most that work of our own holds the thread for, in milliseconds: a part of a large image, and a whole jail, during
 * which no plugin code can run.
 */
export const OWN_WORK_MS = { staging: 60_000, cleaning: 600_000 } as const

/** Watches by a thread, which speaks as `log` does, from the first code of the plugin on. */
export function startWatchdog(log: Log): Watchdog {
  let vm: ToWatchdog | undefined
  let end: ToWatchdog | undefined
  let worker: Worker | undefined
  const send = (message: ToWatchdog) => worker?.postMessage(message)
  const stop = () => {
    worker?.terminate()
    worker = undefined
  }
  const watch = (what: string, limit: number) => send({ kind: "watch", what, limit })
  const start = () => {
    worker ??= startThread(log, [vm, end])
  }
  const untilDone = async <T>(work: () => Promise<T>) => {
    try {
      return await work()
    } finally {
      send({ kind: "done" })
    }
  }
  return {
    guard(what, limit, work) {
      start()
      watch(what, limit)
      return untilDone(work)
    },
    guardFrom(what, limit, work) {
      const begin = () => {
        start()
        watch(what, limit)
      }
      return untilDone(() => work(once(begin)))
    },
    allow(what, limit, work) {
      watch(what, limit)
      return untilDone(work)
    },
    protect(protectedVm) {
      vm = { kind: "protect", vm: protectedVm }
      end = undefined
      send(vm)
    },
    noteEnd(exit) {
      end = { kind: "end", exit }
      send(end)
    },
    release() {
      vm = undefined
      send({ kind: "release" })
    },
    dismiss: stop,
    dispose: stop,
  }
}

// --- internal ---

/** A thread that has heard these messages. */
function startThread(log: Log, heard: readonly (ToWatchdog | undefined)[]): Worker {
  const worker = new Thread(entryUrl("src/supervisor/hooks/watchdogWorker.ts"))
  const send = (message: ToWatchdog) => worker.postMessage(message)
  worker.onmessage = ({ data }: MessageEvent<FromWatchdog>) => {
    if (data === "are you there?") send({ kind: "here" })
  }
  send({ kind: "speak", json: log.json })
  for (const message of heard) if (message !== undefined) send(message)
  worker.unref()
  return worker
}
