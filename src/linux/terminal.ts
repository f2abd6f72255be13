import { descriptor } from "./guards.ts"
import { libc } from "./libc.ts"

/** More than any libc's `struct termios` has; its content is only handed back. */
const TERMIOS_SIZE = 256
const TCSANOW = 0

/** Remembers a terminal's settings (tcgetattr(3)); what it returns puts them back. For no terminal, nothing happens. */
export function rememberTerminal(fd: number): () => void {
  const termios = new Uint8Array(TERMIOS_SIZE)
  if (libc.tcgetattr(descriptor(fd), termios) !== 0) return () => {}
  return () => void libc.tcsetattr(fd, TCSANOW, termios)
}
