import { ENDING_SIGNALS, ignoredOf, letSignals, resetSignal } from "../../base/linux/signals.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"

const SIGCHLD = 17

/** The name of such a signal. */
export type Interrupt = keyof typeof ENDING_SIGNALS

/** How the user asks a run to end. */
export interface Interrupts extends Disposable {
  /** Aborted by the first signal: stop gracefully. */
  readonly stop: AbortSignal
  /** Aborted by the second: stop at once. */
  readonly force: AbortSignal
  /** A signal of its own for one wait, aborted by the next signal from now on. */
  next(): AbortSignal
  /** As if a signal had come; for a Ctrl-C read from a raw terminal. */
  press(name: Interrupt): void
  /** As a first signal, but because something failed that nobody waits for. */
  fail(failure: Failure): void
  /** The first such failure. */
  failure(): Failure | undefined
  /** 128 + the number of the first signal, a failure's own; undefined when none came. */
  exitCode(): number | undefined
}

/**
 * Takes over the signals that ask a run to end and that this process heeds, until it is disposed of; those in `ignored` do nothing.
 * `onPress` hears how many there were.
 */
export function watchInterrupts(onPress: (count: number) => void, ignored: readonly Interrupt[] = []): Interrupts {
  const stop = new AbortController()
  const force = new AbortController()
  let next = new AbortController()
  let exitCode: number | undefined
  let failure: Failure | undefined
  let count = 0
  const press = (name: Interrupt) => interrupt(128 + ENDING_SIGNALS[name])
  const interrupt = (code: number) => {
    exitCode ??= code
    count++
    ;(count === 1 ? stop : force).abort()
    const current = next
    next = new AbortController()
    current.abort()
    onPress(count)
  }
  // The children of a process that ignores SIGCHLD vanish when they end, and nobody learns how.
  if (ignoredOf([SIGCHLD]).length > 0) resetSignal(SIGCHLD)
  const handlers = heeded().map((name) => [name, ignored.includes(name) ? () => {} : () => press(name)] as const)
  for (const [name, handler] of handlers) process.on(name, handler)
  // The program that was in this process before may have held them back, so that none is lost.
  letSignals(Object.values(ENDING_SIGNALS))
  return {
    stop: stop.signal,
    force: force.signal,
    next: () => next.signal,
    press,
    fail: (cause) => {
      failure ??= cause
      if (count === 0) interrupt(cause.exit)
    },
    failure: () => failure,
    exitCode: () => exitCode,
    [Symbol.dispose]() {
      for (const [name, handler] of handlers) process.off(name, handler)
    },
  }
}

/** The signals that this process heeds: not those that its caller had ignored (nohup(1)), but SIGTERM always. */
export function heeded(): readonly Interrupt[] {
  const deaf = ignoredOf(Object.values(ENDING_SIGNALS))
  const all = Object.keys(ENDING_SIGNALS) as Interrupt[]
  return all.filter((name) => name === "SIGTERM" || !deaf.includes(ENDING_SIGNALS[name]))
}

/** Says of the second signal what it does: it asks for an end at once. */
export function sayingAtOnce(log: Pick<Log, "warn">): (count: number) => void {
  return (count) => {
    if (count === 2) log.warn("stopping at once")
  }
}

/** What to throw where work failed with `error`: if the user had interrupted it, that and not what the interrupt made fail. */
export function orInterrupted(interrupts: Interrupts, error: unknown): unknown {
  const exit = interrupts.exitCode()
  if (exit === undefined) return error
  return interrupts.failure() ?? new Failure("INTERRUPTED", "interrupted", { exit, cause: error })
}
