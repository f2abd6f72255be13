/** Sees every checked system call of this process. */
export interface Interposer {
  /** Returns 0 to let the call happen, or the errno to fail it with instead. */
  readonly before?: (call: string, subject: string | undefined) => number
  /** Runs after the call, whether that failed or not. */
  readonly after?: (call: string, subject: string | undefined) => void
}

let current: Interposer | undefined

/**
 * Puts an interposer between this program and the kernel; `undefined` takes it out again. Tests use it to fail each call
 * in turn and to stop after each. Nothing in src calls it.
 */
export function interpose(interposer: Interposer | undefined): void {
  current = interposer
}

/** For libc.ts: the errno to fail with, or 0. */
export function beforeCall(call: string, subject: string | undefined): number {
  return current?.before?.(call, subject) ?? 0
}

/** For libc.ts: the call was made. */
export function afterCall(call: string, subject: string | undefined): void {
  current?.after?.(call, subject)
}
