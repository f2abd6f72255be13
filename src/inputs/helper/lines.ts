import { Failure, isFailure, messageOf } from "../../base/terms/failure.ts"
import { type JsonBounds, strictJson } from "./strictJson.ts"

/** The longest line that a caller may send, in bytes, its newline included. */
export const LINE_MAX_BYTES = 64 * 1024

/** What root's helper may be sent: a spec nests deeper than the rest. */
export const ASKED_BOUNDS: JsonBounds = { depth: 16, members: 1024 }

/** What it answers: it says how VMs of a whole state are. */
export const ANSWER_BOUNDS: JsonBounds = { depth: 32, members: 1_000_000 }
export const ANSWER_MAX_BYTES = 64 * 1024 * 1024

/** A line of JSON, parsed. */
export type Message = Readonly<Record<string, unknown>>

/** Cuts bytes that come in pieces into messages, a line each. */
export interface MessageCutter {
  /**
   * The messages whose lines end in these bytes, in order. The first line that is none is the last one, as a failure (BAD_FILE), and
   * nothing comes after it, whatever is cut: who sends such a thing is not to be guessed at.
   */
  cut(bytes: Uint8Array): readonly (Message | Failure)[]
  /** Whether a line has begun, and its end has not come. */
  readonly cutShort: boolean
}

/** A cutter that keeps at most one line of `limitBytes`, however the pieces fall. Lines are UTF-8, without NUL or byte order mark. */
export function messageCutter(limitBytes: number, bounds: JsonBounds): MessageCutter {
  let rest: Uint8Array[] = []
  let length = 0
  let broken = false
  const take = (piece: Uint8Array) => {
    length += piece.length
    if (length > limitBytes) throw bad(`a line is longer than ${limitBytes} bytes`)
    if (piece.length > 0) rest.push(piece)
  }
  const cutInto = (messages: (Message | Failure)[], bytes: Uint8Array) => {
    let from = 0
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, from)) {
      take(bytes.subarray(from, end + 1))
      const line = Buffer.concat(rest).subarray(0, -1)
      rest = []
      length = 0
      messages.push(strictJson(decode(line), bounds))
      from = end + 1
    }
    // A copy: whoever reads may use the same memory again.
    take(new Uint8Array(bytes.subarray(from)))
  }
  return {
    cut(bytes) {
      const messages: (Message | Failure)[] = []
      if (broken) return messages
      try {
        cutInto(messages, bytes)
      } catch (error) {
        broken = true
        rest = []
        messages.push(isFailure(error) ? error : bad(messageOf(error)))
      }
      return messages
    },
    get cutShort() {
      return !broken && length > 0
    },
  }
}

// --- internal ---

const NEWLINE = "\n".charCodeAt(0)

function decode(line: Uint8Array): string {
  if (line.includes(0)) throw bad("a NUL byte")
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line)
  } catch {
    throw bad("bytes that are not UTF-8")
  }
}

function bad(why: string): Failure {
  return new Failure("BAD_FILE", `not a message: ${why}`, { subject: "message" })
}
