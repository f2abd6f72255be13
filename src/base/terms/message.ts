import { EXIT_OF, Failure, type FailureCode, failureJson, isFailure } from "./failure.ts"
import type { Log } from "./log.ts"

/** How much a message matters; `debug` is shown only with --verbose. */
export const LEVELS = ["debug", "info", "warn", "error"] as const
export type Level = (typeof LEVELS)[number]

/** A value as JSON in which no terminal finds a control character: on one line unless it is to be indented. Pure. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(
    RAW,
    (raw) => `\\u${raw.charCodeAt(0).toString(16).padStart(4, "0")}`,
  )
}

/** A message as --json prints it, on one line. Pure. */
export function messageLine(level: Level, message: string): string {
  return jsonText({ log: { level, message } })
}

/** The failure that a command ended with, as --json prints it: its last line on standard error. Pure. */
export function failureLine(error: unknown, { stack = false }: { readonly stack?: boolean } = {}): string {
  const said = failureJson(error)
  const trace = stack && error instanceof Error ? stackOf(error) : undefined
  return jsonText(trace === undefined ? said : { error: { ...said.error, stack: trace } })
}

/** Another banger, being heard line by line. */
export interface Hearing {
  line(text: string): void
  /** The failure that it ended with, if it has said one. */
  failure(): Failure | undefined
}

/**
 * Hears what another banger says with --json: its messages go to `log`, its failure is kept for this one to end with. What
 * it says otherwise than in JSON (a program that a hook started may) goes to `onText`.
 */
export function hearing(log: Log, onText: (line: string) => void): Hearing {
  let failure: Failure | undefined
  return {
    line(text) {
      const said = readMessage(text)
      if (said === undefined) onText(text)
      else if (isFailure(said)) failure = said
      else log[said.level](said.message)
    },
    failure: () => failure,
  }
}

/** What another banger said on a line of its standard error, as it does with --json; undefined for any other line. Pure. */
export function readMessage(line: string): Failure | { readonly level: Level; readonly message: string } | undefined {
  if (!line.startsWith("{")) return undefined
  try {
    const { log, error } = JSON.parse(line)
    if (typeof log?.message === "string" && LEVELS.includes(log.level))
      return { level: log.level, message: log.message }
    return typeof error?.message === "string" && isCode(error.code) ? failureOf(error) : undefined
  } catch {
    return undefined
  }
}

// --- internal ---

/** What JSON leaves as it is and a terminal, or a reader of lines, may not: DEL, C1, the Unicode line ends. */
const RAW = /[\u007f-\u009f\u2028\u2029]/g

function stackOf({ stack, message, cause }: Error): string {
  const own = stack ?? message
  return cause instanceof Error ? `${own}\ncaused by ${cause.stack ?? cause.message}` : own
}

function isCode(code: unknown): code is FailureCode {
  return typeof code === "string" && Object.hasOwn(EXIT_OF, code)
}

function failureOf(said: Readonly<Record<"code" | "message" | "hint" | "subject" | "exit", unknown>>): Failure {
  const word = (value: unknown) => (typeof value === "string" ? value : undefined)
  const exit = typeof said.exit === "number" ? said.exit : undefined
  const code = isCode(said.code) ? said.code : "FAILED"
  return new Failure(code, String(said.message), { hint: word(said.hint), subject: word(said.subject), exit })
}
