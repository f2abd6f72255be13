import { errorCode } from "../../base/linux/errors.ts"
import { pidfdExited, pidfdSignal } from "../../base/linux/pidfd.ts"
import { Failure } from "../../base/terms/failure.ts"

export const SIGKILL = 9

/** Sends a signal through a pidfd: to this process or none. A process that has ended is no error. */
export function signalProcess(pidfd: number, number: number): void {
  try {
    pidfdSignal(pidfd, number)
  } catch (error) {
    // It ended before the signal came, which is what the signal was for.
    if (errorCode(error) !== "ESRCH") throw error
  }
}

/** Kills the process of a pidfd and waits for its end. Throws a failure when it has not ended in `timeoutMs`. */
export function killProcess(pid: number, pidfd: number, timeoutMs: number): void {
  signalProcess(pidfd, SIGKILL)
  if (pidfdExited(pidfd, timeoutMs)) return
  throw new Failure("FAILED", `process ${pid} does not die`, { hint: `see what it waits for: cat /proc/${pid}/stack` })
}
