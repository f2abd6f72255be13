import { procPath } from "./access.ts"
import { O } from "./constants.ts"
import { countedApart } from "./credentials.ts"
import { cPath, descriptor } from "./guards.ts"
import { libc, outcome, rawSyscall } from "./libc.ts"
import { syscallNumber } from "./numbers.ts"

/**
 * A descriptor that can be read once one of these open files was written to (inotify(7)). Throws where the kernel has no
 * watch left to give. The caller closes the descriptor.
 */
export function watchWrites(fds: readonly number[]): number {
  const watch = countedApart(() =>
    rawSyscall("inotify_init1", syscallNumber("inotify_init1"), [O.CLOEXEC | O.NONBLOCK]),
  )
  try {
    for (const fd of fds)
      rawSyscall(
        "inotify_add_watch",
        syscallNumber("inotify_add_watch"),
        [watch, cPath(procPath(descriptor(fd))) as number, IN_MODIFY],
        `fd ${fd}`,
      )
  } catch (error) {
    libc.close(watch)
    throw error
  }
  return watch
}

/** Takes what such a descriptor tells, so that the next write is told anew. */
export function takeWrites(watch: number): void {
  const buffer = new Uint8Array(EVENTS_SIZE)
  for (;;) if (outcome("read", () => libc.read(descriptor(watch), buffer, buffer.length)) <= 0) return
}

// --- internal ---

const IN_MODIFY = 2
const EVENTS_SIZE = 4096
