import { S } from "../../base/linux/constants.ts"
import { errorCode, isDiskFull } from "../../base/linux/errors.ts"
import { isType, statDescriptor } from "../../base/linux/files.ts"
import { isUnread } from "../../base/linux/poll.ts"
import { type Source, type Writer, writeFor, writerTo, writeSome } from "../../base/linux/writer.ts"
import { usersFirst } from "../../base/terms/compiled.ts"
import { asFailure, Failure, messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { failureLine, jsonText, type Level, messageLine } from "../../base/terms/message.ts"
import { once } from "../../base/terms/once.ts"
import { type Captured, captureOutput } from "./captureOutput.ts"

/** How a command was asked to speak. */
export interface Manner {
  readonly verbose: boolean
  readonly quiet: boolean
  /** Nothing but JSON: documents to standard output, a message a line to standard error. */
  readonly json: boolean
}

/** Where a command's data and messages go. */
export interface Output {
  readonly manner: Manner
  /** Whether what others write to either output becomes a message. */
  readonly captures: boolean
  /** Data, to standard output: a line, or bytes as they are. False when nobody reads it any more. */
  print(data: string | Uint8Array): boolean
  /** Prints what standard output takes without waiting, and tells how many bytes that was; from their `source`, where that can be. */
  printSome(data: Uint8Array, source?: Source): number
  /** Aborted when nobody reads standard output any more: a command that waits would not learn it before it writes again. */
  unread(): AbortSignal
  /** A command's result: with --json its document, otherwise its text, if it has any. */
  show(document: unknown, text: string): void
  /** A line that somebody else said. It may be lost where nobody reads: this waits only a moment and never throws. */
  say(text: string, where: "out" | "err"): void
  readonly log: Log
  /** Says what went wrong: the message with its hint, or with --json the failure's JSON. The stack is only for --verbose. */
  fail(error: unknown): void
  /** Before this process ends: says what others wrote to its outputs. */
  end(): void
}

/**
 * Data goes to standard output, every message to standard error. Both are written at once, in the order they come. With
 * `capture`, what others write to either becomes a message.
 */
export async function createOutput(manner: Manner, capture = false): Promise<Output> {
  const captured = capture ? captureOutput((line) => said.say(line, "err")) : undefined
  const to = captured ?? { stdout: 1, stderr: 2 }
  const stdout = writerTo(to.stdout)
  const print = (data: string | Uint8Array) => {
    const bytes = typeof data === "string" ? Buffer.from(`${data}\n`) : data
    return (
      ifRead(to.stdout, () => writeFor(to.stdout, bytes, { write: stdout, patienceMs: Number.POSITIVE_INFINITY })) !==
      undefined
    )
  }
  const says = { out: patiently(to.stdout, stdout), err: patiently(to.stderr, writerTo(to.stderr)) }
  const said = manner.json ? jsonMessages(manner, says.err, captured) : await messages(manner, says)
  return {
    manner,
    captures: captured !== undefined,
    print,
    printSome: (data, source) =>
      ifRead(to.stdout, () => source?.sendTo(to.stdout) ?? writeSome(stdout, data)) ?? data.length,
    ...said,
    unread: once(() => whenUnread(to.stdout)),
    show(document, text) {
      if (manner.json) print(jsonText(document, 2))
      else if (text !== "") print(text)
    },
  }
}

// --- internal ---

/** No event tells it: it is asked for this often, in milliseconds. */
const UNREAD_POLL_MS = 100

function whenUnread(fd: number): AbortSignal {
  const controller = new AbortController()
  const timer = setInterval(() => {
    if (!isUnread(fd)) return
    clearInterval(timer)
    controller.abort()
  }, UNREAD_POLL_MS)
  timer.unref()
  return controller.signal
}

/** A message waits this long for a reader that is behind, in milliseconds: a VM waits for what prints it. */
const READER_WAIT_MS = 2000

/** As consola counts: a message is shown when its level is at most the one asked for. */
const LEVELS = { error: 0, warn: 1, info: 3, debug: 4 } as const

type Say = (bytes: Uint8Array) => void
type Messages = Pick<Output, "say" | "log" | "fail" | "end">

async function messages(manner: Manner, says: Readonly<Record<"out" | "err", Say>>): Promise<Messages> {
  // Only here: as soon as it is loaded, it opens the standard streams.
  const { createConsola } = await import("consola")
  const stream = unbuffered(process.stderr, says.err)
  const log = createConsola({ level: levelOf(manner), stdout: stream, stderr: stream, formatOptions: { date: false } })
  return {
    log,
    say: (text, where) => says[where](Buffer.from(`${text}\n`)),
    end() {},
    fail(error) {
      const { message, hint } = asFailure(error, "INTERNAL")
      log.error(hint === undefined ? message : `${message}\n${hint}`)
      // What the user wrote stands first: where it was thrown, then who says so.
      const causes = causesOf(error).toReversed()
      for (const [index, { stack, message }] of causes.entries())
        log.debug(`${index === 0 ? "" : "which became "}${stack === undefined ? message : usersFirst(stack)}`)
    },
  }
}

/** An error, and what it was caused by, outermost first; a circle ends. */
function causesOf(error: unknown, known: readonly Error[] = []): readonly Error[] {
  if (!(error instanceof Error) || known.includes(error)) return known
  return causesOf(error.cause, [...known, error])
}

function jsonMessages(manner: Manner, sayErr: Say, captured: Captured | undefined): Messages {
  const line = (text: string) => sayErr(Buffer.from(`${text}\n`))
  const at = (level: Level) => (message: string) => {
    captured?.drain()
    if (LEVELS[level] <= levelOf(manner)) line(messageLine(level, message))
  }
  const { stdout, stderr } = captured ?? { stdout: 1, stderr: 2 }
  return {
    log: { json: { stdout, stderr }, debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") },
    say: (text) => line(messageLine("info", text)),
    end: () => captured?.drain(true),
    fail(error) {
      captured?.drain(true)
      line(failureLine(error, { stack: manner.verbose }))
    },
  }
}

function levelOf({ verbose, quiet }: Manner): number {
  return verbose ? LEVELS.debug : quiet ? LEVELS.warn : LEVELS.info
}

/** The stream as it is, but for what it has not written when the process exits: there is never any. */
function unbuffered(stream: NodeJS.WriteStream, say: Say): NodeJS.WriteStream {
  const write = (text: string) => {
    say(Buffer.from(text))
    return true
  }
  return Object.assign(Object.create(stream), { write })
}

/** Messages never fail, and never wait long; a reader that has let one go is not waited for until it reads again. */
function patiently(fd: number, write: Writer): Say {
  let patience = READER_WAIT_MS
  return (bytes) => {
    try {
      patience = writeFor(fd, bytes, { write, patienceMs: patience }) === bytes.length ? READER_WAIT_MS : 0
    } catch {
      // A full disk, a closed terminal: there is no other place to say it.
    }
  }
}

/**
 * Undefined where nobody reads any more (`banger logs | head`, a closed terminal): what is left has no place to go. Throws a
 * failure when the file behind standard output takes nothing more.
 */
function ifRead(fd: number, write: () => number): number | undefined {
  try {
    return write()
  } catch (error) {
    const code = errorCode(error)
    // A file's disk may say EIO too, and then has lost it.
    if (code === "EPIPE" || (code === "EIO" && isDevice(fd))) return undefined
    if (code === undefined) throw error
    const hint = isDiskFull(error) ? "make room, or send it elsewhere" : "send it elsewhere"
    const message = `standard output cannot be written: ${messageOf(error)}`
    throw new Failure("NO_SPACE", message, { hint, subject: "stdout", cause: error })
  }
}

function isDevice(fd: number): boolean {
  return isType(statDescriptor(fd), S.IFCHR)
}
