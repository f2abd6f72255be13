import { cPath } from "./guards.ts"
import { rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/** Names this process for top(1) and ps(1) (prctl(2), PR_SET_NAME): the kernel keeps the first 15 bytes. */
export function nameProcess(name: string): void {
  rawSyscall("prctl", syscallNumber("prctl"), [PR_SET_NAME, cPath(name) as number])
}

// --- internal ---

const PR_SET_NAME = 15
