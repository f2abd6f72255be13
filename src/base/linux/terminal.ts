import { descriptor, fixed } from "./guards.ts"
import { libc } from "./libc.ts"

/** More than any libc's `struct termios` has; but for what is below its content is only handed back. */
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

/** A terminal's settings. */
export type Termios = Uint8Array<ArrayBuffer>

/** A terminal's settings (tcgetattr(3)); undefined where the descriptor is of no terminal, or it has gone. */
export function terminalSettings(fd: number): Termios | undefined {
  const termios = fixed(TERMIOS_SIZE)
  return libc.tcgetattr(descriptor(fd), termios) === 0 ? termios : undefined
}

/** Gives a terminal settings (tcsetattr(3)), unless that would stop this process. Does nothing where it has gone. */
export function setTerminal(fd: number, settings: Termios): void {
  if (inForeground(fd)) libc.tcsetattr(descriptor(fd), TCSANOW, settings)
}

/**
 * Settings with which each key comes as it is typed, unshown and without a meaning for the kernel, and output stays what it is
 * (termios(3), "raw mode", but for OPOST). Pure.
 */
export function rawSettings(settings: Termios): Termios {
  const raw = settings.slice()
  const flags = new Uint32Array(raw.buffer, 0, FLAGS_COUNT)
  flags[IFLAG] = Number(flags[IFLAG]) & ~(BRKINT | INPCK | ISTRIP | INLCR | IGNCR | ICRNL | IXON)
  flags[LFLAG] = Number(flags[LFLAG]) & ~(ISIG | ICANON | ECHO | IEXTEN)
  flags[CFLAG] = Number(flags[CFLAG]) | CS8
  raw.set([1], CHARACTERS + VMIN)
  raw.set([0], CHARACTERS + VTIME)
  return raw
}

/**
 * Remembers a terminal's settings. The function it returns restores them, unless that would stop the process. Does nothing for a
 * descriptor that is not a terminal's.
 */
export function rememberTerminal(fd: number): () => void {
  const settings = terminalSettings(fd)
  return () => settings && setTerminal(fd, settings)
}

// --- internal ---

/** The flags of a `struct termios`, and where its characters are: the same for all machines and libcs that banger runs on. */
const FLAGS_COUNT = 4
const IFLAG = 0
const CFLAG = 2
const LFLAG = 3
const CHARACTERS = 17
const VTIME = 5
const VMIN = 6

/** asm-generic/termbits.h. */
const [BRKINT, INPCK, ISTRIP, INLCR, IGNCR, ICRNL, IXON] = [0x2, 0x10, 0x20, 0x40, 0x80, 0x100, 0x400] as const
const CS8 = 0x30
const [ISIG, ICANON, ECHO, IEXTEN] = [0x1, 0x2, 0x8, 0x8000] as const
