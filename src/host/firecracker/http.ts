/** A request over HTTP/1.1 to a server behind a unix socket. */
export interface HttpRequest {
  readonly method: string
  readonly path: string
  /** JSON. */
  readonly body: string | undefined
}

/** What a server answers. */
export interface HttpAnswer {
  readonly status: number
  /** Cut off, with `…` at its end, where it is longer than was asked for. */
  readonly text: string
}

/** No head of an answer is larger, in bytes, with those of the answers that announce it. */
const HEAD_MAX_BYTES = 16 * 1024

/** How requests are made. */
export interface Exchange {
  readonly signal: AbortSignal
  /** No more than this of an answer's text is read, in bytes. */
  readonly limit: number
  /** Is called with each answer as it comes, in the order of the requests. What it throws ends the exchange. */
  readonly onAnswer: (answer: HttpAnswer) => void
}

/**
 * Makes requests over a connection of their own, all at once (RFC 9112 9.3.2), until each is answered: a server serves one after
 * the other. Rejects when an answer does not come: with a system error where nobody listens, with the reason of `signal` when
 * that is aborted, and with an error that says so where what comes is no answer or ends early.
 */
export async function exchange(
  unix: string,
  requests: readonly HttpRequest[],
  { signal, limit, onAnswer }: Exchange,
): Promise<void> {
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  // It may be rejected while nobody waits for it yet, and what nobody catches ends the run.
  promise.catch(() => {})
  const abort = () => reject(signal.reason)
  signal.addEventListener("abort", abort)
  let received: Uint8Array = new Uint8Array()
  let unanswered = requests.length
  const receive = (ended: boolean) => {
    try {
      while (unanswered > 0) {
        const taken = takeAnswer(received, { limit, ended })
        if (taken === undefined) break
        received = received.subarray(taken.length)
        unanswered--
        onAnswer(taken.answer)
      }
      if (unanswered === 0) resolve()
      else if (ended) throw new Error("the connection was closed before the answer was whole")
    } catch (error) {
      unanswered = 0
      reject(error)
    }
  }
  const unsent = { bytes: Buffer.concat(requests.map(packRequest)) }
  const send = (to: Bun.Socket) => {
    unsent.bytes = unsent.bytes.subarray(to.write(unsent.bytes))
  }
  let socket: Bun.Socket | undefined
  try {
    socket = await Bun.connect({
      unix,
      socket: {
        open: send,
        drain: send,
        data(_, chunk) {
          received = Buffer.concat([received, chunk])
          receive(false)
        },
        close: () => receive(true),
        error: (_, error) => reject(error),
      },
    })
    await promise
  } finally {
    signal.removeEventListener("abort", abort)
    socket?.terminate()
  }
}

/** The bytes of a request. Pure. */
export function packRequest({ method, path, body }: HttpRequest): Uint8Array {
  const content =
    body === undefined ? [] : ["Content-Type: application/json", `Content-Length: ${Buffer.byteLength(body)}`]
  const head = [`${method} ${path} HTTP/1.1`, "Host: firecracker", "Accept: application/json", ...content]
  return Buffer.from(`${head.join("\r\n")}\r\n\r\n${body ?? ""}`)
}

/** An answer, and of how many bytes it is made. */
export interface Taken {
  readonly answer: HttpAnswer
  readonly length: number
}

/**
 * The answer that bytes begin with, or undefined while more must come; `ended`: no more will. Answers that only announce another
 * (1xx) are passed over. One that is too long or has no length takes all bytes. Throws an error that says what is wrong where
 * they are no answer. Pure.
 */
export function takeAnswer(
  bytes: Uint8Array,
  { limit, ended }: { readonly limit: number; readonly ended: boolean },
): Taken | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const [begin, end] = endOfHeads(buffer)
  if (end === -1 || end > HEAD_MAX_BYTES) {
    if (buffer.length > HEAD_MAX_BYTES) throw new Error("what it answers is not HTTP")
    return undefined
  }
  const [first = "", ...lines] = buffer.toString("latin1", begin, end).split("\r\n")
  const status = Number(/^HTTP\/1\.[01] ([1-5]\d\d)(?: |$)/.exec(first)?.[1] ?? Number.NaN)
  if (Number.isNaN(status)) throw new Error("what it answers is not HTTP")
  const start = end + 4
  const rest = buffer.subarray(start)
  if (status === 204) return { answer: { status, text: "" }, length: start }
  const length = lengthOf(lines)
  if (Math.min(length ?? rest.length, rest.length) > limit)
    return { answer: { status, text: `${rest.toString("utf8", 0, limit)}…` }, length: buffer.length }
  if (length === undefined ? !ended : rest.length < length) return undefined
  const text = rest.toString("utf8", 0, length)
  return { answer: { status, text }, length: length === undefined ? buffer.length : start + length }
}

// --- internal ---

/** Where the head begins that announces no other, and where it ends: -1 when that has not come. */
function endOfHeads(buffer: Buffer): readonly [number, number] {
  for (let begin = 0; ; ) {
    const end = buffer.indexOf("\r\n\r\n", begin)
    if (
      end === -1 ||
      end > HEAD_MAX_BYTES ||
      !/^HTTP\/1\.[01] 1\d\d(?: |\r)/.test(buffer.toString("latin1", begin, begin + 13))
    )
      return [begin, end]
    begin = end + 4
  }
}

function lengthOf(lines: readonly string[]): number | undefined {
  let length: number | undefined
  for (const line of lines) {
    const [, name = "", value = ""] = /^([^:\s]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? []
    if (/^transfer-encoding$/i.test(name)) throw new Error(`it answers with the transfer encoding ${value}`)
    if (!/^content-length$/i.test(name)) continue
    if (!/^\d{1,15}$/.test(value) || (length !== undefined && length !== Number(value)))
      throw new Error("the length of its answer is no number")
    length = Number(value)
  }
  return length
}
