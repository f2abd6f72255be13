import { errorCode } from "../../base/linux/errors.ts"
import { close } from "../../base/linux/files.ts"
import { pidfdExited, pidfdExitStatus, pidfdInode, pidfdOpen, pidfdSignal } from "../../base/linux/pidfd.ts"
import { Failure } from "../../base/terms/failure.ts"
import { awaitExit } from "./awaitExit.ts"

export const SIGKILL = 9

/**
 * A process, held by its pidfd: whatever is asked or done here concerns this very process, never a later one with its
 * pid. Declared with `using`, it closes itself; closing it twice is fine. Whoever uses it when it is closed, or was
 * handed on, has a fault: that throws.
 */
export interface PidRef extends Disposable {
  readonly pid: number
  /** Hands the process on: the value returned is to be closed instead of this one, which cannot be used any more. */
  move(): PidRef
  /** What tells this process from every other of this boot (Linux 6.9); undefined on older kernels. */
  inode(): string | undefined
  /** Whether it has exited. Waits up to `timeoutMs`, and blocks this thread meanwhile; 0 only looks. */
  hasExited(timeoutMs?: number): boolean
  /** Resolves when it has exited; never rejects. This must stay open until then. */
  exited(): Promise<void>
  /** Its wait(2) status, once its parent has waited for it (Linux 6.15); undefined before that. */
  exitStatus(): number | undefined
  /** Sends a signal. A process that has ended is no error. */
  signal(number: number): void
  /** Kills it and waits for its end. Throws a failure when it has not ended in `timeoutMs`. */
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

/** A process of which there is a pidfd already: the value returned owns it. */
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
    kill(timeoutMs) {
      signal(fd(), SIGKILL)
      if (pidfdExited(fd(), timeoutMs)) return
      const hint = `see what it waits for: cat /proc/${pid}/stack`
      throw new Failure("FAILED", `process ${pid} does not die`, { hint })
    },
    [Symbol.dispose]() {
      const last = letGo()
      if (last !== undefined) close(last)
    },
  }
}

/** An answer that may carry a process: declared with `using`, it closes the process, unless that was handed on. */
export function closing<T extends object>(answer: T & { readonly process?: PidRef }): T & Disposable {
  return { ...answer, [Symbol.dispose]: () => answer.process?.[Symbol.dispose]() }
}

/** Closes all of these at the end of a block: for a list, declared with `using`. */
export function closingAll(processes: Iterable<PidRef | undefined>): DisposableStack {
  const stack = new DisposableStack()
  for (const process of processes) stack.use(process)
  return stack
}

// --- internal ---

function signal(pidfd: number, number: number): void {
  try {
    pidfdSignal(pidfd, number)
  } catch (error) {
    // It ended before the signal came, which is what the signal was for.
    if (errorCode(error) !== "ESRCH") throw error
  }
}
