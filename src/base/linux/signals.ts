import { readFileSync } from "node:fs"
import { word } from "./guards.ts"
import { libc } from "./libc.ts"

/** Whether this process ignores a signal, as its parent may have told it to (nohup(1)); see proc(5), SigIgn. */
export function isIgnored(signal: number): boolean {
  const [, mask = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? []
  return ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n
}

/** Gives a signal its default action (signal(2)). */
export function resetSignal(signal: number): void {
  libc.signal(word("signal", signal), SIG_DFL)
}

/**
 * Lets the kernel end this process by SIGALRM after so many seconds (alarm(2)). Another call replaces the alarm; 0 cancels
 * it. It ends even code that never yields, which a timer of the same thread could not.
 */
export function endIn(seconds: number): void {
  resetSignal(SIGALRM)
  libc.alarm(word("seconds", seconds))
}

// --- internal ---

const SIGALRM = 14

const SIG_DFL = 0
