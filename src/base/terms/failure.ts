// The room terms: words that every room uses: failures, sizes, times, names, addresses.
// The rule: pure, and it imports nothing.

/** Exit statuses of the whole program; docs/errors.md has them. */
export const EXIT = { ok: 0, failed: 1, usage: 2, tryLater: 75, timedOut: 124 } as const

/** The closed list of codes, each with the exit status that goes with it. docs/errors.md says when each is meant. */
export const EXIT_OF = {
  USAGE: EXIT.usage,
  BAD_PLUGIN: EXIT.usage,
  BAD_CONFIG: EXIT.usage,
  BAD_FILE: EXIT.usage,
  NO_SUCH_VM: EXIT.failed,
  UNSUPPORTED: EXIT.usage,
  NEEDS_ROOT: EXIT.usage,
  WRONG_STATE: EXIT.failed,
  IN_USE: EXIT.failed,
  BUSY: EXIT.tryLater,
  TIMED_OUT: EXIT.timedOut,
  HOST_LACKS: EXIT.failed,
  UNTRUSTED: EXIT.failed,
  START_FAILED: EXIT.failed,
  HOOK_FAILED: EXIT.failed,
  VM_FAILED: EXIT.failed,
  LIVENESS_UNKNOWN: EXIT.failed,
  NOT_RELEASED: EXIT.failed,
  CHANGED: EXIT.failed,
  BAD_STATE: EXIT.failed,
  NO_SPACE: EXIT.failed,
  DOWNLOAD_FAILED: EXIT.failed,
  NOT_AUTHENTIC: EXIT.failed,
  /** 128 + the signal's number, which its `exit` says. */
  INTERRUPTED: 130,
  FAILED: EXIT.failed,
  INTERNAL: EXIT.failed,
} as const

/** What kind of failure it is: for programs, which never read the message. */
export type FailureCode = keyof typeof EXIT_OF

const BRAND = Symbol.for("banger.failure")

/** What a failure may carry besides its code and message. */
export interface FailureDetail {
  /** What the user can do next: one sentence or one command. */
  readonly hint?: string | undefined
  /** The thing that it happened to: a VM's id, a path, an option, a field of the plugin. */
  readonly subject?: string | undefined
  /** The exit status of an INTERRUPTED: 128 + the signal's number. Of every other code EXIT_OF has it. */
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
  readonly code: FailureCode
  readonly hint: string | undefined
  readonly subject: string | undefined
  readonly exit: number

  constructor(code: FailureCode, message: string, detail: FailureDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.name = "Failure"
    this.code = code
    this.hint = detail.hint
    this.subject = detail.subject
    this.exit = detail.exit ?? EXIT_OF[code]
  }
}

/** Of more failures than these only the number is told. */
const JOINED_COUNT = 10

/**
 * Several failures of one thing (one at least) as one, with what the user can do next; of very many, the first ten. Code and
 * status are the first one's.
 */
export function joinFailures(subject: string, failures: readonly Failure[]): Failure {
  const told = failures.slice(0, JOINED_COUNT)
  const hints = new Set(told.map(({ hint }) => hint).filter((hint) => hint !== undefined))
  const more = failures.length > told.length ? [`and ${failures.length - told.length} more`] : []
  const message = `${subject}: ${[...told.map((failure) => failure.message), ...more].join("; ")}`
  const hint = hints.size === 0 ? undefined : [...hints].join("\n")
  const [first] = failures
  return new Failure(first?.code ?? "FAILED", message, { hint, subject, exit: first?.exit, cause: first })
}

/** A failure's message and hint in one line. */
export function inOneLine({ message, hint }: Failure): string {
  return hint === undefined ? message : `${message} (${hint})`
}

/** A failure of what the user typed; `subject` is the word, or what the help calls it. */
export function usageError(message: string, detail: FailureDetail & { readonly subject: string }): Failure {
  return new Failure("USAGE", message, detail)
}

/** Tells a failure made for the user from a fault of ours. */
export function isFailure(error: unknown): error is Failure {
  return typeof error === "object" && error !== null && BRAND in error
}

/**
 * Anything that was thrown as a failure: itself, or what it says under this code. Default: FAILED: what it is, only its text tells;
 * but what a full disk has refused is NO_SPACE then, and what a limit on open files has HOST_LACKS, and instead of INTERNAL, wherever it was asked for.
 */
export function asFailure(error: unknown, code?: FailureCode): Failure {
  if (isFailure(error)) return error
  const hint = code === undefined || code === "INTERNAL" ? roomHint(error) : undefined
  if (hint !== undefined) return new Failure("NO_SPACE", messageOf(error), { hint, cause: error })
  const limit = code === undefined || code === "INTERNAL" ? limitHint(error) : undefined
  if (limit !== undefined) return new Failure("HOST_LACKS", messageOf(error), { hint: limit, cause: error })
  return new Failure(code ?? "FAILED", messageOf(error), { cause: error })
}

/** What helps where this process, or the host, may have no more descriptors; undefined for every other error. */
export function limitHint(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined
  return code === "EMFILE" ? OPEN_FILES : code === "ENFILE" ? ALL_OPEN_FILES : undefined
}

const OPEN_FILES = "its caller lets it open too few files: ulimit -n 1024"
const ALL_OPEN_FILES = "all processes of this host have too many files open: sysctl fs.file-nr"

/** What helps where a disk took nothing more: no space or no inodes, over quota, read-only. */
const ROOM_HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "make room there: df, df -i",
  EDQUOT: "make room there: quota",
  EROFS: "it is on a file system that is mounted read-only: findmnt",
  SQLITE_FULL: "make room there: df, df -i",
}

/** The calls by which a disk fills; mount(2), inotify(7) and others say ENOSPC of what there may be no more of in the kernel. */
const DISK_CALL =
  /^(?:p?writev?|openat2?|open|creat|mkdir(?:at)?|mkdtemp|mknod(?:at)?|symlink(?:at)?|link(?:at)?|rename(?:at2?)?|copy_?file(?:_range)?|sendfile|fallocate|f?truncate|f(?:data)?sync|close|bind|f?setxattr)$/

function roomHint(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return undefined
  if ("syscall" in error && typeof error.syscall === "string" && !DISK_CALL.test(error.syscall)) return undefined
  return Object.hasOwn(ROOM_HINTS, error.code) ? ROOM_HINTS[error.code] : undefined
}

/** A failure as data. `failureSchema` holds it. */
export interface FailureJson {
  readonly code: FailureCode
  readonly message: string
  readonly hint?: string | undefined
  readonly subject?: string | undefined
  readonly exit: number
  /** Only on standard error, with --verbose. */
  readonly stack?: string | undefined
}

/** Anything that was thrown as data; what is no failure is a fault of ours, INTERNAL. */
export function failureJson(error: unknown): { readonly error: FailureJson } {
  const { code, message, hint, subject, exit } = isFailure(error) ? error : asFailure(error, "INTERNAL")
  return { error: { code, message, hint, subject, exit } }
}

/** Why a thing could not be done or told, for a document that says so of each thing: in words, and as data. */
export function whyOf(error: unknown): {
  readonly why: string
  readonly hint: string | undefined
  readonly error: FailureJson
} {
  const failure = asFailure(error)
  return { why: failure.message, hint: failure.hint, ...failureJson(failure) }
}

/** The text of anything that can be thrown, without a stack. */
export function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message || error.name
  return typeof error === "string" ? error : Bun.inspect(error)
}
