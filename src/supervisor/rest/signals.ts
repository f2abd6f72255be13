import { ENDING_SIGNALS } from "../../base/linux/signals.ts"

const { SIGHUP, ...others } = ENDING_SIGNALS

/** Tells a supervisor that rests, and has no terminal that could go, to look for a request (`handover`). An older one does nothing. */
export const ASKING: number = SIGHUP

/** Those that wake a supervisor. */
export const WAKING: readonly number[] = Object.values(others)

/** Those that are held back from one program to the next. */
export const HELD: readonly number[] = [SIGHUP, ...WAKING]
