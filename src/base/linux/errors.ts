import { ERRNOS } from "./names.ts"

/**
 * A failed system call: which call, on what, and why. Has the fields of Node's own system errors
 * (`code`, `errno`, `syscall`, `path`), so that one check serves both.
 */
export class SyscallError extends Error {
  readonly code: string
  readonly errno: number
  readonly syscall: string
  readonly path: string | undefined

  constructor(syscall: string, errno: number, text: string, path?: string) {
    const code = errnoName(errno)
    super(`${syscall}${path === undefined ? "" : ` ${path}`}: ${code}: ${text}`)
    this.name = "SyscallError"
    this.code = code
    this.errno = errno
    this.syscall = syscall
    this.path = path
  }
}

/** `2` as `ENOENT`; a number without a name here as `E2`. */
export function errnoName(errno: number): string {
  const name = ERRNOS[errno] ?? "-"
  return name === "-" ? `E${errno}` : name
}

/** The errno name (`ENOENT`) of a thrown system error, ours or Node's; undefined for any other value. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined
  return typeof error.code === "string" ? error.code : undefined
}

/** Whether a system error says that a disk takes nothing more: it is full, over quota, or read-only. */
export function isDiskFull(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT", "EROFS"].includes(errorCode(error) ?? "")
}

/**
 * What `work` returns, or undefined when what it looks at is not there: when it throws a system error with one of these
 * codes. Every other error is thrown on.
 */
export function unlessAbsent<T>(work: () => T, codes: readonly string[] = ["ENOENT"]): T | undefined {
  try {
    return work()
  } catch (error) {
    if (codes.includes(errorCode(error) ?? "")) return undefined
    throw error
  }
}

/** Runs `work`; a system error with one of these codes means that there was nothing to do. */
export function ignoring(codes: readonly string[], work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!codes.includes(errorCode(error) ?? "")) throw error
  }
}
