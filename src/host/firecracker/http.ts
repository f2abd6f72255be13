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

/** No head of an answer is larger, in bytes. */
const HEAD_MAX_BYTES = 16 * 1024

/**
 * Makes one request over a connection of its own, and returns the answer. Rejects when there is none: with a system error where
 * nobody listens, with the reason of `signal` when that is aborted, and with an error that says so where what comes is no
 * answer or ends early. More than `limit` bytes of text are not read.
 */
export async function exchange(
  unix: string,
  request: HttpRequest,
  { signal, limit }: { readonly signal: AbortSignal; readonly limit: number },
): Promise<HttpAnswer> {
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>()
  const abort = () => reject(signal.reason)
  signal.addEventListener("abort", abort)
  let received: Uint8Array = new Uint8Array()
  const receive = (ended: boolean) => {
    try {
      const answer = readAnswer(received, { limit, ended })
      if (answer !== undefined) resolve(answer)
      else if (ended) throw new Error("the connection was closed before the answer was whole")
    } catch (error) {
      reject(error)
    }
  }
  const unsent = { bytes: packRequest(request) }
  const send = (to: Bun.Socket) => {
    unsent.bytes = unsent.bytes.subarray(to.write(unsent.bytes))
  }
  const socket = await Bun.connect({
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
  try {
    return await promise
  } finally {
    signal.removeEventListener("abort", abort)
    socket.terminate()
  }
}

/** The bytes of a request. Pure. */
export function packRequest({ method, path, body }: HttpRequest): Uint8Array {
  const content =
    body === undefined ? [] : ["Content-Type: application/json", `Content-Length: ${Buffer.byteLength(body)}`]
  const head = [`${method} ${path} HTTP/1.1`, "Host: firecracker", "Accept: application/json", ...content]
  return Buffer.from(`${head.join("\r\n")}\r\n\r\n${body ?? ""}`)
}

/**
 * The answer that bytes are, or undefined while more must come; `ended`: no more will. Answers that only announce another (1xx)
 * are passed over. Throws an error that says what is wrong where they are no answer. Pure.
 */
export function readAnswer(
  bytes: Uint8Array,
  { limit, ended }: { readonly limit: number; readonly ended: boolean },
): HttpAnswer | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const end = buffer.indexOf("\r\n\r\n")
  if (end === -1 || end > HEAD_MAX_BYTES) {
    if (buffer.length > HEAD_MAX_BYTES) throw new Error("what it answers is not HTTP")
    return undefined
  }
  const [first = "", ...lines] = buffer.toString("latin1", 0, end).split("\r\n")
  const status = Number(/^HTTP\/1\.[01] ([1-5]\d\d)(?: |$)/.exec(first)?.[1] ?? Number.NaN)
  if (Number.isNaN(status)) throw new Error("what it answers is not HTTP")
  const rest = buffer.subarray(end + 4)
  if (status < 200) return readAnswer(rest, { limit, ended })
  if (status === 204) return { status, text: "" }
  const length = lengthOf(lines)
  if (rest.length > limit) return { status, text: `${rest.toString("utf8", 0, limit)}…` }
  if (length === undefined ? !ended : rest.length < length) return undefined
  return { status, text: rest.toString("utf8", 0, length) }
}

// --- internal ---

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
