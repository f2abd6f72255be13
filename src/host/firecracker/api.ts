import * as v from "valibot"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"

/** One request to Firecracker's API, which is answered by a `Reply`. */
export interface ApiRequest<Reply = undefined> {
  readonly method: "GET" | "PUT" | "PATCH"
  readonly path: string
  readonly body?: Readonly<Record<string, unknown>>
  /** What of the plugin it is about, for errors: `drives[0]`. */
  readonly setting: string
  /** What it is answered by; undefined: by nothing but success. */
  readonly reply?: v.GenericSchema<unknown, Reply>
}

/** Firecracker's API, over its unix socket. */
export interface Api {
  /**
   * Makes a request and returns what it answered. Rejects with the setting and Firecracker's own words, or when the answer
   * is not what it must be.
   */
  request<Reply>(request: ApiRequest<Reply>): Promise<Reply>
}

/** An answer to one request takes milliseconds; pausing and snapshots have their own limits. */
const ANSWER_WAIT_MS = 10_000

/** Firecracker takes no larger body (its default of --http-api-max-payload-size). */
export const BODY_MAX_BYTES = 51_200

const faultSchema = v.union([v.object({ fault_message: v.string() }), v.object({ error: v.string() })])

/**
 * The API behind a unix socket. Requests are made one at a time: its server takes few connections, and serves one
 * request after the other anyway.
 */
export function openApi(socket: string, limit: number = ANSWER_WAIT_MS): Api {
  let last: Promise<unknown> = Promise.resolve()
  return {
    request<Reply>(request: ApiRequest<Reply>) {
      const next = last.then(() => ask(socket, request, limit))
      // The next one waits for this one's end, whatever it is.
      last = next.catch(() => {})
      return next
    },
  }
}

/** What an answer that is no success says: its `fault_message` or `error`, which may hold raw newlines, or its text. */
export function faultOf(status: number, text: string): string {
  try {
    const fault = v.parse(faultSchema, JSON.parse(text.replace(/[\n\r]/g, " ")))
    return "fault_message" in fault ? fault.fault_message : fault.error
  } catch {
    // No JSON, or another one: its beginning is all there is to show.
    return `status ${status}${text === "" ? "" : `: ${text.slice(0, 200)}`}`
  }
}

// --- internal ---

async function ask<Reply>(socket: string, request: ApiRequest<Reply>, limit: number): Promise<Reply> {
  const { method, path, body, setting } = request
  const text = body === undefined ? undefined : JSON.stringify(body)
  if (text !== undefined && Buffer.byteLength(text) > BODY_MAX_BYTES)
    throw new Failure(
      "FAILED",
      `${setting}: ${Buffer.byteLength(text)} bytes; Firecracker takes ${BODY_MAX_BYTES} at most`,
    )
  const headers = text === undefined ? {} : { "content-type": "application/json" }
  const signal = AbortSignal.timeout(limit)
  let reply: { readonly status: number; readonly said: string }
  try {
    // A redirect is no answer: it could lead this process, which is root's, to any address.
    const options = { method, headers, body: text ?? null, unix: socket, redirect: "manual", signal } as const
    const response = await fetch(`http://firecracker${path}`, options)
    reply = { status: response.status, said: await response.text() }
  } catch (error) {
    throw noAnswer(method, path, setting, limit, error)
  }
  const { status, said } = reply
  if (status === 200 || status === 204) return answerOf(request, said)
  throw new Failure("FAILED", `${setting}: Firecracker refused it: ${faultOf(status, said)}`)
}

function noAnswer(method: string, path: string, setting: string, limit: number, error: unknown): Failure {
  const late = error instanceof Error && /timed? ?out/i.test(`${error.name} ${error.message}`)
  const why = late ? `did not answer ${method} ${path} in ${formatDuration(limit)}` : `did not answer ${method} ${path}`
  return new Failure("FAILED", `${setting}: Firecracker ${why}${late ? "" : `: ${messageOf(error)}`}`, { cause: error })
}

function answerOf<Reply>({ path, setting, reply }: ApiRequest<Reply>, said: string): Reply {
  const result = v.safeParse(reply ?? NOTHING, said === "" ? undefined : parsed(said, path, setting))
  if (result.success) return result.output as Reply
  const [issue] = result.issues
  const at = v.getDotPath(issue)
  throw new Failure(
    "FAILED",
    `${setting}: Firecracker answered ${path} otherwise than expected: ${at ? `${at}: ` : ""}${issue.message}`,
  )
}

const NOTHING = v.undefined("no answer but success was expected")

function parsed(text: string, path: string, setting: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Failure("FAILED", `${setting}: Firecracker answered ${path} with something that is no JSON`, {
      cause: error,
    })
  }
}
