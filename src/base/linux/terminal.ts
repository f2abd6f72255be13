import { descriptor } from "./guards.ts"
import { libc } from "./libc.ts"

/** More than any libc's `struct termios` has; its content is only handed back. */
const TERMIOS_SIZE = 256
const TCSANOW = 0

/**
 * Whether this process may use a terminal without being stopped: its process group is in the foreground, or the terminal
 * does not control this process (tcgetpgrp(3)).
 */
export function inForeground(fd: number): boolean {
  const group = libc.tcgetpgrp(descriptor(fd))
  return group === -1 || group === libc.getpgrp()
}

/**
 * Remembers a terminal's settings (tcgetattr(3)). The function it returns restores them, unless that would stop the
 * process. Does nothing for a descriptor that is not a terminal's.
 */
export function rememberTerminal(fd: number): () => void {
  const termios = new Uint8Array(TERMIOS_SIZE)
  if (libc.tcgetattr(descriptor(fd), termios) !== 0) return () => {}
  return () => void (inForeground(fd) && libc.tcsetattr(fd, TCSANOW, termios))
}
