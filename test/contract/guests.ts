import { tinyGuest } from "../tinyGuest.ts"

/** The kernel file of each guest of the table, by what it does after its greeting. */
export const GUESTS: Readonly<Record<string, Buffer>> = {
  /** Reads keys until Ctrl-Alt-Del, says R and resets. */
  kernel: tinyGuest(),
  /** As that one, and counts in its memory meanwhile. */
  counter: tinyGuest("COUNT"),
  /** Resets at once. */
  reset: tinyGuest("RESET"),
  /** Stands still with interrupts off, as after a power-off. */
  halt: tinyGuest("HALT"),
  /** Runs on and reads no key. */
  deaf: tinyGuest("DEAF"),
  /** Runs into an exception that nothing handles. */
  triple: tinyGuest("TRIPLE"),
}
