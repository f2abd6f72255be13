/** `unknown`: it could not be looked at, and `says` tells why. */
export type Verdict = "ok" | "warn" | "fail" | "unknown"

/** What a check found. */
export interface Finding {
  readonly verdict: Verdict
  /** What is there, and what follows from it. */
  readonly says: string
  /** The command, or the step, that mends it. */
  readonly mend?: string | undefined
}

/** A finding with the check that made it: what `doctor --json` prints. */
export interface Checked extends Finding {
  readonly id: string
}

export function ok(says: string): Finding {
  return { verdict: "ok", says }
}

export function warn(says: string, mend?: string): Finding {
  return { verdict: "warn", says, mend }
}

export function fail(says: string, mend?: string): Finding {
  return { verdict: "fail", says, mend }
}

export function unknown(says: string, mend?: string): Finding {
  return { verdict: "unknown", says, mend }
}
