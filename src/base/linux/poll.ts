import { POLLOUT, POLLPRI } from "./constants.ts"
import { descriptor } from "./guards.ts"
import { libc, retried } from "./libc.ts"
import { packPollFd } from "./structs.ts"

/** Whether a write(2) of up to PIPE_BUF bytes would return at once, with success or failure (poll(2)). */
export function canWrite(fd: number): boolean {
  const pollFd = packPollFd(descriptor(fd), POLLOUT)
  return retried("poll", () => libc.poll(pollFd, 1, 0)) > 0
}

/** Waits until a descriptor can be written to, or `timeoutMs` are over (poll(2), POLLOUT). */
export function awaitWritable(fd: number, timeoutMs: number): void {
  const pollFd = packPollFd(descriptor(fd), POLLOUT)
  retried("poll", () => libc.poll(pollFd, 1, Math.ceil(timeoutMs)))
}

/** Waits until a kernel file (cgroup.events) has changed since it was read, or `timeoutMs` are over (poll(2), POLLPRI). */
export function awaitUrgent(fd: number, timeoutMs: number): void {
  const pollFd = packPollFd(descriptor(fd), POLLPRI)
  retried("poll", () => libc.poll(pollFd, 1, Math.ceil(timeoutMs)))
}
