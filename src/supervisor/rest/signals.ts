import { ENDING_SIGNALS } from "../../base/linux/signals.ts"

const { SIGHUP, ...others } = ENDING_SIGNALS

/** Those that wake a supervisor: it has no terminal that could go. */
export const WAKING: readonly number[] = Object.values(others)

/** Those that are held back from one program to the next. */
export const HELD: readonly number[] = [SIGHUP, ...WAKING]
