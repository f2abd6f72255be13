import { POLLIN, POLLOUT, POLLPRI } from "./constants.ts"
import { descriptor } from "./guards.ts"
import { failureOf, libc, outcome, retried } from "./libc.ts"
import { packPollFd, packPollFds, unpackRevents } from "./structs.ts"

/** Whether a write(2) of up to PIPE_BUF bytes would return at once, with success or failure (poll(2)). */
export function canWrite(fd: number): boolean {
  const pollFd = packPollFd(descriptor(fd), POLLOUT)
  return retried("poll", () => libc.poll(pollFd, 1, 0)) > 0
}

/** Whether nobody reads any more what is written to a pipe, a socket or a terminal (poll(2), POLLERR and POLLHUP); false for a file. */
export function isUnread(fd: number): boolean {
  const pollFds = packPollFds([descriptor(fd)], 0)
  const count = outcome("poll", () => libc.poll(pollFds, 1, 0))
  return count > 0 && (unpackRevents(pollFds, 0) & (POLLERR | POLLHUP)) !== 0
}

/** Whether there is something to read right now (poll(2), POLLIN); what has only ended has nothing. A file always says yes. */
export function hasInput(fd: number): boolean {
  const pollFds = packPollFds([descriptor(fd)], POLLIN)
  const count = outcome("poll", () => libc.poll(pollFds, 1, 0))
  return count > 0 && (unpackRevents(pollFds, 0) & POLLIN) !== 0
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

/**
 * Waits until one of these descriptors has something to read or has ended, or `timeoutMs` are over (poll(2)); undefined
 * waits for ever. Returns those that have; none after a signal, too. Blocks this thread.
 */
export function awaitReadable(fds: readonly number[], timeoutMs: number | undefined): readonly number[] {
  const pollFds = packPollFds(fds.map(descriptor), POLLIN)
  const wait = timeoutMs === undefined ? -1 : Math.min(Math.max(0, Math.ceil(timeoutMs)), POLL_MAX_MS)
  const count = outcome("poll", () => libc.poll(pollFds, fds.length, wait))
  if (count === -EINTR || count === 0) return []
  if (count < 0) throw failureOf("poll", count)
  return fds.filter((_, index) => unpackRevents(pollFds, index) !== 0)
}

// --- internal ---

const POLLERR = 8
const POLLHUP = 16

const EINTR = 4

/** poll(2) takes an int: 24 days. */
const POLL_MAX_MS = 2 ** 31 - 1
