/** Sees every checked system call of this process. */
export interface Interposer {
  /** Returns 0 to let the call be made, or the errno it shall fail with instead. */
  readonly before?: (call: string, subject: string | undefined) => number
  /** The call was made; whether it failed is not told. */
  readonly after?: (call: string, subject: string | undefined) => void
}

let current: Interposer | undefined

/**
 * Puts something between this program and the kernel: the tests' way of failing each call in turn, and of stopping
 * after each. Nothing in src calls it. `undefined` ends it.
 */
export function interpose(interposer: Interposer | undefined): void {
  current = interposer
}

/** For libc.ts: the errno to fail with, or 0. */
export function beforeCall(call: string, subject: string | undefined): number {
  return current?.before?.(call, subject) ?? 0
}

/** For libc.ts. */
export function afterCall(call: string, subject: string | undefined): void {
  current?.after?.(call, subject)
}
