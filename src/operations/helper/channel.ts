import { errorCode } from "../../base/linux/errors.ts"
import { isUnread } from "../../base/linux/poll.ts"
import { writerTo, writeSome } from "../../base/linux/writer.ts"
import { Failure } from "../../base/terms/failure.ts"
import { jsonText } from "../../base/terms/message.ts"
import { ASKED_BOUNDS, LINE_MAX_BYTES, messageCutter } from "../../inputs/helper/lines.ts"
import type { Said } from "../../inputs/helper/messages.ts"

/** What root's helper and the user's process say to each other, by standard input and output. */
export interface Channel {
  /** Says something. Never waits: this process may hold what others wait for. What the other side does not take ends the channel. */
  say(said: Said): void
  /** The next message; undefined once there are no more. Throws, once, for a line that is none: then there are no more either. */
  next(): Promise<Readonly<Record<string, unknown>> | undefined>
  /** Aborted when the other side has gone, or has said what is no message. */
  readonly over: AbortSignal
  /** How many bytes wait for the other side. */
  readonly waitingBytes: number
  /** Resolves when all is said that was to be, or the other side does not take it. */
  flushed(): Promise<void>
}

/** Opens the channel on this process's standard input and output. */
export function openChannel(): Channel {
  const over = new AbortController()
  const out = queue(1, () => over.abort())
  const heard: (Readonly<Record<string, unknown>> | Failure)[] = []
  let wake = Promise.withResolvers<void>()
  const listen = async () => {
    const cutter = messageCutter(LINE_MAX_BYTES, ASKED_BOUNDS)
    try {
      for await (const chunk of Bun.stdin.stream()) {
        heard.push(...cutter.cut(chunk))
        wake.resolve()
        if (heard.at(-1) instanceof Failure) break
        // Who says more than is asked for waits: messages are taken one by one.
        while (heard.length > HEARD_MAX_COUNT && !over.signal.aborted) {
          await Bun.sleep(POLL_MS)
          // The end of what they say is behind what is not read yet.
          if (isUnread(0)) over.abort()
        }
      }
      if (cutter.cutShort)
        heard.push(new Failure("BAD_FILE", "not a message: a line without an end", { subject: "message" }))
    } catch (error) {
      heard.push(error instanceof Failure ? error : new Failure("BAD_FILE", String(error), { subject: "message" }))
    }
    over.abort()
    wake.resolve()
  }
  void listen()
  let ended = false
  return {
    ...out,
    over: over.signal,
    get waitingBytes() {
      return out.waitingBytes
    },
    async next() {
      for (;;) {
        const first = heard.shift()
        if (first instanceof Failure) ended = true
        if (first instanceof Failure) throw first
        if (first !== undefined && !ended) return first
        if (ended || over.signal.aborted) return undefined
        wake = Promise.withResolvers<void>()
        await wake.promise
      }
    },
  }
}

// --- internal ---

/** So much may wait for the other side before it counts as gone, in bytes; a console waits where it comes from. */
const QUEUED_MAX_BYTES = 4 * 1024 * 1024

/** Messages that were said before they were asked for. */
const HEARD_MAX_COUNT = 64

/** How often to try whether the other side takes more, in milliseconds. */
const POLL_MS = 10

/** At the end the other side has this long to take the rest, in milliseconds. */
const LAST_WORDS_MS = 2000

function queue(fd: number, onGone: () => void): Pick<Channel, "say" | "flushed" | "waitingBytes"> {
  const write = writerTo(fd)
  let waiting: Uint8Array[] = []
  let bytes = 0
  let timer: Timer | undefined
  let gone = false
  const giveUp = () => {
    gone = true
    waiting = []
    bytes = 0
    clearInterval(timer)
    onGone()
  }
  const flush = () => {
    try {
      for (let [first] = waiting; first !== undefined; [first] = waiting) {
        const taken = writeSome(write, first)
        bytes -= taken
        if (taken < first.length) {
          waiting[0] = first.subarray(taken)
          timer ??= setInterval(flush, POLL_MS)
          return
        }
        waiting.shift()
      }
      clearInterval(timer)
      timer = undefined
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      giveUp()
    }
  }
  return {
    say(said) {
      if (gone) return
      const line = Buffer.from(`${jsonText(said)}\n`)
      waiting.push(line)
      bytes += line.length
      if (bytes > QUEUED_MAX_BYTES) return giveUp()
      if (timer === undefined) flush()
    },
    get waitingBytes() {
      return bytes
    },
    async flushed() {
      const end = performance.now() + LAST_WORDS_MS
      while (bytes > 0 && performance.now() < end) await Bun.sleep(POLL_MS)
    },
  }
}
