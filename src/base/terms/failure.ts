/** Exit codes of the whole program; see docs/design.md. */
export const EXIT = { ok: 0, failed: 1, usage: 2, tryLater: 75 } as const

const BRAND = Symbol.for("banger.failure")

/** What a failure may carry besides its message. */
export interface FailureDetail {
  /** What the user can do next: one sentence or one command. */
  readonly hint?: string | undefined
  /** Process exit code; `EXIT.failed` unless told. */
  readonly exit?: number | undefined
  /** The error this one explains. */
  readonly cause?: unknown
}

/**
 * An error whose message is meant for the user: what happened and to which thing.
 * Branded by a registered symbol, so that an error from another copy of this module is still recognised.
 */
export class Failure extends Error {
  readonly [BRAND] = true
  readonly hint: string | undefined
  readonly exit: number

  constructor(message: string, detail: FailureDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.name = "Failure"
    this.hint = detail.hint
    this.exit = detail.exit ?? EXIT.failed
  }
}

/** Several failures of one thing as one, with all that the user can do next. */
export function joined(subject: string, failures: readonly Failure[]): Failure {
  const hints = new Set(failures.map(({ hint }) => hint).filter((hint) => hint !== undefined))
  const message = `${subject}: ${failures.map((failure) => failure.message).join("; ")}`
  return new Failure(message, { hint: hints.size === 0 ? undefined : [...hints].join("\n"), cause: failures[0] })
}

/** A failure's message and hint in one line. */
export function inOneLine({ message, hint }: Failure): string {
  return hint === undefined ? message : `${message} (${hint})`
}

/** A failure of what the user typed or wrote: exit code 2. */
export function usage(message: string, hint?: string, cause?: unknown): Failure {
  return new Failure(message, { hint, exit: EXIT.usage, cause })
}

/** Tells a failure made for the user from a fault of ours. */
export function isFailure(error: unknown): error is Failure {
  return typeof error === "object" && error !== null && BRAND in error
}

/** The text of anything that can be thrown, without a stack. */
export function reason(error: unknown): string {
  if (error instanceof Error) return error.message || error.name
  return typeof error === "string" ? error : Bun.inspect(error)
}
