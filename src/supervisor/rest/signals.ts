/** SIGHUP, INT, QUIT, USR1, USR2, ALRM, TERM: held back from one program to the next. */
export const HELD = [1, 2, 3, 10, 12, 14, 15] as const

/** Those that wake a supervisor: it has no terminal that could go. */
export const WAKING = HELD.filter((signal) => signal !== 1)
