import { errorCode } from "../../base/linux/errors.ts"
import { close } from "../../base/linux/files.ts"
import { pidfdExited, pidfdExitStatus, pidfdInode, pidfdOpen, pidfdSignal } from "../../base/linux/pidfd.ts"
import { Failure } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { awaitExit } from "./awaitExit.ts"

// The room process: what is known of a process, and what is done to it.
// The rule: a pid may become another process's at any time. So a process is held by a PidRef before anything is read of it,
// looked at again afterwards, and signalled by that PidRef only.

export const SIGKILL = 9

/**
 * A process, held by its pidfd: whatever is asked or done here concerns this very process, never a later one with its
 * pid. Declared with `using`, it closes itself; to close it twice is fine. To use one that is closed, or was handed on,
 * is a fault of ours: it throws.
 */
export interface PidRef extends Disposable {
  readonly pid: number
  /** Hands the process on to the value returned, which is closed instead. This one cannot be used any more. */
  move(): PidRef
  /** What tells this process from every other of this boot (Linux 6.9); undefined on older kernels. */
  inode(): string | undefined
  /** Whether it has exited. Waits up to `timeoutMs`, and blocks this thread meanwhile; 0 only looks. */
  hasExited(timeoutMs?: number): boolean
  /** Resolves when it has exited; never rejects. The caller does not close it before. */
  exited(): Promise<void>
  /** Its wait(2) status, once its parent has waited for it (Linux 6.15); undefined before that. */
  exitStatus(): number | undefined
  /** Sends a signal. A process that has ended is no error. */
  signal(number: number): void
  /** The pidfd, for the program that takes this one's place in this process. It stays the PidRef's. */
  inherit(): number
  /** Kills it and waits for its end. Throws TIMED_OUT when it has not ended in `timeoutMs`. */
  kill(timeoutMs: number): void
}

/** Holds the process that has this pid now; undefined when there is none. Throws a system error. */
export function openPid(pid: number): PidRef | undefined {
  try {
    return pidRefOf(pid, pidfdOpen(pid))
  } catch (error) {
    if (errorCode(error) === "ESRCH") return undefined
    throw error
  }
}

/** Holds a process by a pidfd that is open already, and owns the pidfd from here on. */
export function pidRefOf(pid: number, pidfd: number): PidRef {
  let held: number | undefined = pidfd
  const fd = () => {
    if (held === undefined) throw new Error(`process ${pid} is not held any more`)
    return held
  }
  const letGo = () => {
    const last = held
    held = undefined
    return last
  }
  return {
    pid,
    move() {
      const moved = fd()
      letGo()
      return pidRefOf(pid, moved)
    },
    inode: () => pidfdInode(fd()),
    hasExited: (timeoutMs = 0) => pidfdExited(fd(), timeoutMs),
    exited: () => awaitExit(fd()),
    exitStatus: () => pidfdExitStatus(fd()),
    signal: (number) => signal(fd(), number),
    inherit: fd,
    kill(timeoutMs) {
      signal(fd(), SIGKILL)
      if (!pidfdExited(fd(), timeoutMs)) throw notDead(pid, timeoutMs)
    },
    [Symbol.dispose]() {
      const last = letGo()
      if (last !== undefined) close(last)
    },
  }
}

/** An answer that may carry a process. Declared with `using`, it closes the process, unless that was handed on. */
export function closing<T extends object>(answer: T & { readonly process?: PidRef }): T & Disposable {
  return { ...answer, [Symbol.dispose]: () => answer.process?.[Symbol.dispose]() }
}

/** Closes all of these at the end of the block that declares it with `using`. */
export function closingAll(processes: Iterable<PidRef | undefined>): DisposableStack {
  const stack = new DisposableStack()
  for (const process of processes) stack.use(process)
  return stack
}

/** The failure of a process that was killed and has not ended. */
export function notDead(pid: number, waitedMs: number): Failure {
  const waited = formatDuration(Math.ceil(waitedMs / 1000) * 1000)
  const hint = `see what it waits for: cat /proc/${pid}/stack`
  return new Failure("TIMED_OUT", `process ${pid} did not end in ${waited} after SIGKILL`, { subject: `${pid}`, hint })
}

// --- internal ---

function signal(pidfd: number, number: number): void {
  try {
    pidfdSignal(pidfd, number)
  } catch (error) {
    // It has ended already.
    if (errorCode(error) !== "ESRCH") throw error
  }
}
