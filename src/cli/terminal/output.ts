import { createConsola } from "consola"
import { errorCode } from "../../base/linux/errors.ts"
import { type Writer, writeFor, writerTo, writeSome } from "../../base/linux/writer.ts"

/** Where a command's data and messages go. */
export interface Output {
  /** Data, to standard output: a line, or bytes as they are. False when nobody reads it any more. */
  print(data: string | Uint8Array): boolean
  /** Prints what standard output takes without waiting, and tells how many bytes that was. */
  printSome(data: Uint8Array): number
  /** Prints a line that may be lost where nobody reads: it waits only a moment and never throws. */
  say(text: string, where: "out" | "err"): void
  readonly log: {
    debug(message: string): void
    info(message: string): void
    warn(message: string): void
    error(message: string): void
  }
}

const STDOUT = 1
const STDERR = 2

/** A message waits this long for a reader that is behind, in milliseconds: a VM waits for what prints it. */
const READER_WAIT_MS = 2000

/** Data goes to standard output, every message to standard error. Both are written at once, in the order they come. */
export function createOutput(verbose: boolean, quiet: boolean): Output {
  const level = verbose ? 4 : quiet ? 1 : 3
  const stdout = writerTo(STDOUT)
  const says = { out: patiently(STDOUT, stdout), err: patiently(STDERR, writerTo(STDERR)) }
  const stream = unbuffered(process.stderr, says.err)
  return {
    log: createConsola({ level, stdout: stream, stderr: stream, formatOptions: { date: false } }),
    printSome: (data) => ifRead(() => writeSome(stdout, data)) ?? data.length,
    print: (data) => {
      const bytes = typeof data === "string" ? Buffer.from(`${data}\n`) : data
      return (
        ifRead(() => writeFor(STDOUT, bytes, { write: stdout, patienceMs: Number.POSITIVE_INFINITY })) !== undefined
      )
    },
    say: (text, where) => says[where](Buffer.from(`${text}\n`)),
  }
}

// --- internal ---

/** The stream as it is, but for what it has not written when the process exits: there is never any. */
function unbuffered(stream: NodeJS.WriteStream, say: (bytes: Uint8Array) => void): NodeJS.WriteStream {
  const write = (text: string) => {
    say(Buffer.from(text))
    return true
  }
  return Object.assign(Object.create(stream), { write })
}

/** Messages never fail, and never wait long; a reader that has let one go is not waited for until it reads again. */
function patiently(fd: number, write: Writer): (bytes: Uint8Array) => void {
  let patience = READER_WAIT_MS
  return (bytes) => {
    try {
      patience = writeFor(fd, bytes, { write, patienceMs: patience }) === bytes.length ? READER_WAIT_MS : 0
    } catch {
      // A full disk, a closed terminal: there is no other place to say it.
    }
  }
}

/** Nobody reads any more (`banger logs | head`, a closed terminal): what is left has no place to go. */
function ifRead(write: () => number): number | undefined {
  try {
    return write()
  } catch (error) {
    if (errorCode(error) === "EPIPE" || errorCode(error) === "EIO") return undefined
    throw error
  }
}
