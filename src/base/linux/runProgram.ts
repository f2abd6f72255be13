import { O } from "./constants.ts"
import { readStart } from "./content.ts"
import { errorCode } from "./errors.ts"
import { close, openAt } from "./files.ts"
import { AT_FDCWD } from "./guards.ts"
import { pidfdExited, pidfdSignal, reapChild } from "./pidfd.ts"
import { makePipe } from "./pipes.ts"
import { awaitReadable } from "./poll.ts"
import { startProgram } from "./startProgram.ts"

/** How a program that had so long has ended. */
export interface RanProgram {
  /** Null when a signal ended it, also ours once its time was up. */
  readonly exit: number | null
  /** Whether its time was up. */
  readonly late: boolean
  /** The beginning of what it wrote, to either of its outputs. */
  readonly output: string
}

/**
 * Runs a program, without a shell, in a session of its own, in `/`, with an empty standard input, and this environment alone. It has
 * `limitMs`; then it is killed, with all of its process group. Its output never holds it up, and only the beginning is kept; what it
 * has left running that keeps the output open is not waited for. Blocks this thread. Throws a system error when it cannot be started.
 */
export function runProgram(
  argv: readonly string[],
  { limitMs, env }: { readonly limitMs: number; readonly env: Readonly<Record<string, string>> },
): RanProgram {
  const deadline = performance.now() + limitMs
  const nothing = openAt(AT_FDCWD, "/dev/null", O.RDWR)
  const [out, into] = makePipe()
  try {
    const { pid, pidfd } = startProgram({ path: argv[0] ?? "", argv, env, fds: [nothing, into, into], umask: 0o022 })
    try {
      const output = outputOf(out, pidfd, deadline)
      const late = !pidfdExited(pidfd)
      if (late) end(pid, pidfd)
      const status = reapChild(pidfd)
      return { exit: status !== undefined && !late && (status & 0x7f) === 0 ? status >> 8 : null, late, output }
    } finally {
      close(pidfd)
    }
  } finally {
    for (const fd of [nothing, out, into]) close(fd)
  }
}

// --- internal ---

/** A killed program has this long, in milliseconds, to be gone: one that waits for a device may not be. */
const END_WAIT_MS = 2000

const KEPT_MAX_BYTES = 1024
const READ_BYTES = 64 * 1024
const SIGKILL = 9

/** Reads until the program has ended or its time is up, and then what is there already. */
function outputOf(out: number, pidfd: number, deadline: number): string {
  const chunks: Uint8Array[] = []
  let kept = 0
  for (;;) {
    const left = deadline - performance.now()
    const ended = pidfdExited(pidfd)
    const ready = awaitReadable([out, pidfd], ended || left <= 0 ? 0 : left)
    if (ready.includes(out)) {
      const chunk = readStart(out, READ_BYTES)
      if (kept < KEPT_MAX_BYTES) chunks.push(chunk.subarray(0, KEPT_MAX_BYTES - kept))
      kept += chunk.length
      // Once it has ended, one full read is all that it can have left there.
      if (!ended && left > 0) continue
    }
    if (ended || left <= 0) return new TextDecoder().decode(Buffer.concat(chunks)).trim()
  }
}

/** Its process group is its own: it leads a session. */
function end(pid: number, pidfd: number): void {
  try {
    process.kill(-pid, SIGKILL)
    pidfdSignal(pidfd, SIGKILL)
  } catch (error) {
    if (errorCode(error) !== "ESRCH") throw error
  }
  pidfdExited(pidfd, END_WAIT_MS)
}
