import { statfsSync } from "node:fs"
import { procPath } from "./access.ts"
import { POLLIN } from "./constants.ts"
import { errorCode } from "./errors.ts"
import { statDescriptor } from "./files.ts"
import { descriptor, fixed, word } from "./guards.ts"
import { checked, libc, rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"
import { packPollFd, unpackRevents } from "./structs.ts"

/** pidfd_open(2), Linux 5.3. ESRCH when no process has this pid. The caller closes the descriptor. */
export function pidfdOpen(pid: number): number {
  return rawSyscall("pidfd_open", syscallNumber("pidfd_open"), [word("pid", pid), 0], `pid ${pid}`)
}

/**
 * The inode of a pidfd in pidfs (Linux 6.9), which no other process of this boot has. Undefined on older kernels, whose
 * pidfds share one inode.
 */
export function pidfdInode(pidfd: number): string | undefined {
  // All pidfds of a kernel are of one kind.
  hasPidfs ??= statfsSync(procPath(pidfd)).type === PIDFS_MAGIC
  if (!hasPidfs) return undefined
  return String(statDescriptor(pidfd).ino)
}

let hasPidfs: boolean | undefined

/** linux/magic.h: PID_FS_MAGIC. */
const PIDFS_MAGIC = 0x5049_4446

/** pidfd_send_signal(2), Linux 5.1. ESRCH when the process is gone and reaped; signal 0 only asks. */
export function pidfdSignal(pidfd: number, signal: number): void {
  rawSyscall(
    "pidfd_send_signal",
    syscallNumber("pidfd_send_signal"),
    [descriptor(pidfd), signal, 0, 0],
    `pidfd ${pidfd}`,
  )
}

/**
 * Whether the process of a pidfd has exited (poll(2), Linux 5.3), waiting up to `timeoutMs`; 0 only looks.
 * Blocks this thread, so it is meant for a process that is about to end and not our child.
 */
export function pidfdExited(pidfd: number, timeoutMs = 0): boolean {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const pollFd = packPollFd(descriptor(pidfd), POLLIN)
    const left = Math.max(0, Math.ceil(deadline - performance.now()))
    try {
      checked("poll", () => libc.poll(pollFd, 1, left), `pidfd ${pidfd}`)
      return (unpackRevents(pollFd) & POLLIN) !== 0
    } catch (error) {
      // A signal interrupted the wait: wait again, for the rest of the time.
      if (!(error instanceof Error && "code" in error && error.code === "EINTR")) throw error
    }
  }
}

/**
 * Waits for a child of this process that has exited (waitid(2), P_PIDFD, Linux 5.4): its wait status, once. Undefined when
 * it is no child of this process, or has not exited.
 */
export function reapChild(pidfd: number): number | undefined {
  const info = fixed(SIGINFO.size)
  try {
    rawSyscall("waitid", syscallNumber("waitid"), [P_PIDFD, descriptor(pidfd), info, WEXITED | WNOHANG, 0])
  } catch (error) {
    if (errorCode(error) === "ECHILD") return undefined
    throw error
  }
  const view = new DataView(info.buffer)
  if (view.getInt32(SIGINFO.signal, true) === 0) return undefined
  const status = view.getInt32(SIGINFO.status, true)
  return view.getInt32(SIGINFO.code, true) === CLD_EXITED ? status << 8 : status & 0x7f
}

const P_PIDFD = 3
const WEXITED = 4
const WNOHANG = 1
const CLD_EXITED = 1

/** asm-generic/siginfo.h on 64-bit machines. */
const SIGINFO = { size: 128, signal: 0, code: 8, status: 24 } as const

/** linux/pidfd.h: the first 64 bytes of struct pidfd_info, what to ask for in it, and its ioctl. */
const INFO = { size: 64, exitCode: 60, askExit: 8n, request: 0xc040_ff0b } as const

/**
 * The wait status of the process of a pidfd that has exited and was waited for by its parent (PIDFD_GET_INFO of
 * ioctl_pidfd(2), Linux 6.15). Undefined on older kernels, or when that has not happened yet.
 */
export function pidfdExitStatus(pidfd: number): number | undefined {
  const info = fixed(INFO.size)
  const view = new DataView(info.buffer)
  view.setBigUint64(0, INFO.askExit, true)
  try {
    rawSyscall("ioctl", syscallNumber("ioctl"), [descriptor(pidfd), INFO.request, info], `pidfd ${pidfd}`)
  } catch {
    // ENOTTY, EINVAL, ESRCH: this kernel does not tell, or not yet. Callers can do without.
    return undefined
  }
  return (view.getBigUint64(0, true) & INFO.askExit) === 0n ? undefined : view.getInt32(INFO.exitCode, true)
}
