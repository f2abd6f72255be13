import { O, S } from "../../base/linux/constants.ts"
import { readStart } from "../../base/linux/content.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { isType, openNamed, statDescriptor, verified, withDescriptor } from "../../base/linux/files.ts"
import { Failure, isFailure, messageOf } from "../../base/terms/failure.ts"
import { type Address, redirected, shownAddress } from "./address.ts"

// The room download: fetches bytes and checks them; replaces this program.
// The rule: over the network only https, never more bytes than a limit, and nothing counts before its sum or signature was checked.

/** Where the bytes of a download go. */
export interface Sink {
  /** How many bytes it has. */
  readonly length: number
  write(chunk: Uint8Array): void
  /** Forgets what it has. */
  reset(): void
}

/** Hears how far a download is, in bytes; `total` is undefined where the server does not tell. */
export type OnProgress = (done: number, total: number | undefined) => void

/** How to download. */
export interface Manner {
  /** More bytes than this are refused. */
  readonly limitBytes: number
  /** A download is given up after this long without a byte, in milliseconds. */
  readonly stallMs: number
  /** How long to wait before each new try, in milliseconds. */
  readonly waitsMs?: readonly number[] | undefined
  readonly onProgress?: OnProgress | undefined
  readonly signal?: AbortSignal | undefined
}

/** The stall limit that BANGER_TIMEOUT (seconds) asks for, in milliseconds. */
export function stallLimitMs(text = process.env.BANGER_TIMEOUT): number {
  if (text === undefined || text === "") return 30_000
  const seconds = Number(text)
  if (Number.isInteger(seconds) && seconds > 0 && seconds <= 86_400) return seconds * 1000
  const hint = "give whole seconds, from 1 to 86400"
  throw new Failure("BAD_CONFIG", `BANGER_TIMEOUT is ${JSON.stringify(text)}`, { hint, subject: "BANGER_TIMEOUT" })
}

/**
 * Downloads into a sink, and resumes from what the sink has where the server can. Tries three times more after a fault that
 * may pass (no connection, a stall, a 5xx answer). Throws a failure that names the address.
 */
export async function download(from: Address, sink: Sink, manner: Manner): Promise<void> {
  if ("file" in from) return copy(from.file, sink, manner)
  const { waitsMs = RETRY_WAITS_MS } = manner
  for (let tries = 0; ; tries++) {
    try {
      return await attempt(from.url, sink, manner)
    } catch (error) {
      manner.signal?.throwIfAborted()
      if (isFailure(error) || isOurs(error)) throw error
      if (tries === waitsMs.length) throw failed(from, error)
      await Bun.sleep(waitsMs[tries] ?? 0)
    }
  }
}

/** Downloads into memory. */
export async function downloadBytes(from: Address, manner: Manner): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let length = 0
  const sink: Sink = {
    get length() {
      return length
    },
    write(chunk) {
      chunks.push(chunk)
      length += chunk.length
    },
    reset() {
      chunks.length = 0
      length = 0
    },
  }
  await download(from, sink, manner)
  return new Uint8Array(Buffer.concat(chunks))
}

/** Opens a regular file for reading; a device or FIFO could be endless. Throws a failure for anything else. */
export function openRegular(path: string): number {
  try {
    return verified(openNamed(path, O.RDONLY | O.NONBLOCK), (fd) => {
      if (!isType(statDescriptor(fd), S.IFREG))
        throw new Failure("BAD_FILE", `${path} is not a regular file`, { subject: path, hint: "name a file" })
    })
  } catch (error) {
    if (isFailure(error)) throw error
    throw new Failure("BAD_FILE", `${path} cannot be read: ${messageOf(error)}`, {
      hint: "look whether it is there",
      subject: path,
      cause: error,
    })
  }
}

// --- internal ---

/** How long to wait before each new try, in milliseconds. */
const RETRY_WAITS_MS = [300, 1000, 3000]

const REDIRECTS_MAX_COUNT = 10

/** A file is copied in pieces of this size, in bytes. */
const PIECE_BYTES = 1024 * 1024

/** A fault that another try may mend. */
class Passing extends Error {}

/** The server sent nothing for the time that was allowed. */
class Stalled extends Passing {}

async function attempt(start: URL, sink: Sink, { limitBytes, stallMs, onProgress, signal }: Manner): Promise<void> {
  const quiet = new AbortController()
  const give = () => quiet.abort(new Stalled(`nothing came for ${stallMs / 1000} s`))
  let timer = setTimeout(give, stallMs)
  const both = signal === undefined ? quiet.signal : AbortSignal.any([quiet.signal, signal])
  try {
    const response = await follow(start, sink.length, both)
    if (!resumes(response, sink)) sink.reset()
    const total = totalOf(response, sink.length)
    if (total !== undefined && total > limitBytes) throw tooLarge(start, limitBytes)
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer)
      timer = setTimeout(give, stallMs)
      if (sink.length + chunk.length > limitBytes) throw tooLarge(start, limitBytes)
      sink.write(chunk)
      onProgress?.(sink.length, total)
    }
    if (total !== undefined && sink.length < total) throw new Passing(`it ended after ${sink.length} of ${total} bytes`)
  } catch (error) {
    // The error that fetch makes of an abort does not always carry its reason.
    throw quiet.signal.aborted && !isFailure(error) ? quiet.signal.reason : error
  } finally {
    clearTimeout(timer)
    quiet.abort()
  }
}

/** The answer, after redirects; every redirect must stay on https. */
async function follow(start: URL, have: number, signal: AbortSignal): Promise<Response> {
  let url = start
  for (let hops = 0; hops <= REDIRECTS_MAX_COUNT; hops++) {
    const headers: Record<string, string> = { "accept-encoding": "identity" }
    if (have > 0) headers.range = `bytes=${have}-`
    // Without `timeout: false` Bun gives a silent connection up after six minutes, whatever BANGER_TIMEOUT allows.
    const response = await fetch(url, { redirect: "manual", decompress: false, timeout: false, headers, signal })
    if (response.status >= 300 && response.status < 400) {
      url = redirected(url, response.headers.get("location"))
      continue
    }
    if (response.ok || response.status === 416) return response
    const said = `the server answers ${response.status} ${response.statusText}`.trim()
    if (response.status >= 500 || response.status === 429 || response.status === 408) throw new Passing(said)
    throw notFetched(start, `cannot be downloaded: ${said}`)
  }
  throw notFetched(start, `redirects more than ${REDIRECTS_MAX_COUNT} times`)
}

/** Whether the answer continues what the sink has. A server may also start over, or have less than the sink (416). */
function resumes(response: Response, sink: Sink): boolean {
  if (response.status === 416) {
    sink.reset()
    throw new Passing("the server has less than was downloaded before")
  }
  return response.status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${sink.length}-`) === true
}

function totalOf(response: Response, have: number): number | undefined {
  const length = response.headers.get("content-length")
  return length === null || !/^\d+$/.test(length) ? undefined : have + Number(length)
}

function copy(path: string, sink: Sink, { limitBytes, onProgress }: Manner): void {
  const file = openRegular(path)
  withDescriptor(file, (fd) => {
    const { size } = statDescriptor(fd)
    const tooLarge = () =>
      new Failure("BAD_FILE", `${path} is larger than ${limitBytes} bytes`, {
        subject: path,
        hint: "name another file",
      })
    if (size > limitBytes) throw tooLarge()
    sink.reset()
    for (let piece = readStart(fd, PIECE_BYTES); piece.length > 0; piece = readStart(fd, PIECE_BYTES)) {
      if (sink.length + piece.length > limitBytes) throw tooLarge()
      sink.write(piece)
      onProgress?.(sink.length, size)
    }
  })
}

/** Whether our own disk failed, which another try does not mend. */
function isOurs(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT", "EROFS", "EIO", "EFBIG"].includes(errorCode(error) ?? "")
}

function failed(from: Address, error: unknown): Failure {
  const hint = "try again: banger resumes a download where the server can; BANGER_TIMEOUT=120 waits longer"
  const subject = shownAddress(from)
  const code = error instanceof Stalled ? "TIMED_OUT" : "DOWNLOAD_FAILED"
  return new Failure(code, `${subject} cannot be downloaded: ${fetchReason(error)}`, { hint, subject, cause: error })
}

/** The reason, without the advice that Bun adds for programmers. */
function fetchReason(error: unknown): string {
  return messageOf(error).replace(/\.? For more information, pass .*/s, "")
}

function tooLarge(url: URL, limit: number): Failure {
  return notFetched(url, `is larger than the ${limit} bytes that it may be`)
}

function notFetched({ href }: URL, why: string): Failure {
  return new Failure("DOWNLOAD_FAILED", `${href} ${why}`, { hint: "look what is there", subject: href })
}
