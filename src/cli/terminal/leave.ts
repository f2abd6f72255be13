import { exitNow } from "../../base/linux/exit.ts"

/**
 * Ends this process: what a plugin left running (a timer, a socket) must not keep it. `exit` handlers run; but state.db is not
 * closed, which would write back its log, with two fsyncs, for a process that ends anyway.
 */
export function leave(status: number): never {
  try {
    process.exitCode = status
    process.emit("exit", status)
  } finally {
    exitNow(status)
  }
}
