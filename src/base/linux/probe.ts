import { errorCode } from "./errors.ts"
import { EMPTY_PATH } from "./guards.ts"
import { rawSyscall } from "./libc.ts"
import { type SyscallName, syscallNumber } from "./numbers.ts"

/** Calls that fail on descriptor -1 before they could do anything, with EBADF or EINVAL where the kernel has them. */
const CALLS: readonly SyscallName[] = ["openat2", "pidfd_open", "pidfd_send_signal", "open_tree", "move_mount"]

/**
 * The system calls that this kernel, or a container's seccomp filter, refuses to this process, each with its error.
 * Asking changes nothing.
 */
export function refusedCalls(): readonly string[] {
  return CALLS.flatMap((name) => {
    const code = codeOf(name)
    return code === "ENOSYS" || code === "EPERM" ? [`${name}: ${code}`] : []
  })
}

// --- internal ---

function codeOf(name: SyscallName): string | undefined {
  const nowhere = -1
  try {
    // Every argument is useless, so the kernel refuses before it does anything.
    rawSyscall(name, syscallNumber(name), [nowhere, name === "pidfd_open" ? 1 : EMPTY_PATH, nowhere, 0, nowhere, 0])
    return undefined
  } catch (error) {
    return errorCode(error)
  }
}
