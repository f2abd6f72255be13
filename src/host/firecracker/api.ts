import * as v from "valibot"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { exchange, type HttpAnswer } from "./http.ts"

/** One request to Firecracker's API, which is answered by a `Reply`. */
export interface ApiRequest<Reply = undefined> {
  readonly method: "GET" | "PUT" | "PATCH" | "DELETE"
  readonly path: string
  readonly body?: Readonly<Record<string, unknown>>
  /** What of the plugin it is about, for errors: `drives[0]`. */
  readonly setting: string
  /** Other settings that a refusal is about when Firecracker's words say so: the first that matches. */
  readonly blame?: readonly { readonly words: RegExp; readonly setting: string }[]
  /** What kind of failure it is when Firecracker refuses it; undefined: the start has failed. */
  readonly refusal?: "VM_FAILED"
  /** The schema of its answer; undefined: it is answered by success alone. */
  readonly reply?: v.GenericSchema<unknown, Reply>
}

/** Firecracker's API, over its unix socket. */
export interface Api {
  /** Makes a request and returns its answer. Rejects with a failure that names the setting and quotes Firecracker. */
  request<Reply>(request: ApiRequest<Reply>): Promise<Reply>
}

/** Firecracker answers most requests within milliseconds; a snapshot has a limit of its own. */
const ANSWER_WAIT_MS = 10_000

/** Firecracker takes no larger body (its default of --http-api-max-payload-size). */
export const BODY_MAX_BYTES = 51_200

/** No answer of Firecracker's is larger than what it was told. */
const ANSWER_MAX_BYTES = 512 * 1024

const faultSchema = v.union([v.object({ fault_message: v.string() }), v.object({ error: v.string() })])

/**
 * The API behind a unix socket. Requests are made one at a time: the server takes few connections, and serves one request
 * after the other anyway.
 */
export function openApi(socket: string, limit: number = ANSWER_WAIT_MS): Api {
  let last: Promise<unknown> = Promise.resolve()
  return {
    request<Reply>(request: ApiRequest<Reply>) {
      const next = last.then(() => ask(socket, request, limit))
      // The next request waits for the end of this one, good or bad.
      last = next.catch(() => {})
      return next
    },
  }
}

/** The words of a refusal: its `fault_message` or `error`, which may contain raw newlines, or the beginning of its text. */
export function faultOf(status: number, text: string): string {
  try {
    const fault = v.parse(faultSchema, JSON.parse(text.replace(/[\n\r]/g, " ")))
    return "fault_message" in fault ? fault.fault_message : fault.error
  } catch {
    // It is not JSON of this shape.
    return `status ${status}${text === "" ? "" : `: ${text.slice(0, 200)}`}`
  }
}

// --- internal ---

async function ask<Reply>(socket: string, request: ApiRequest<Reply>, limit: number): Promise<Reply> {
  const { method, path, body, setting } = request
  const text = body === undefined ? undefined : JSON.stringify(body)
  if (text !== undefined && Buffer.byteLength(text) > BODY_MAX_BYTES)
    throw new Failure(
      "BAD_PLUGIN",
      `${setting}: ${Buffer.byteLength(text)} bytes; Firecracker takes ${BODY_MAX_BYTES} at most`,
      { subject: setting },
    )
  let answer: HttpAnswer
  try {
    answer = await exchange(
      socket,
      { method, path, body: text },
      { signal: AbortSignal.timeout(limit), limit: ANSWER_MAX_BYTES },
    )
  } catch (error) {
    throw noAnswer(request, limit, error)
  }
  const { status, text: said } = answer
  if (status === 200 || status === 204) return answerOf(request, said)
  const fault = faultOf(status, said)
  const blamed = request.blame?.find(({ words }) => words.test(fault)) ?? request
  throw refused({ ...request, setting: blamed.setting }, `Firecracker refused it: ${fault}`)
}

/** The failure of a request, under the code that goes with it. */
function refused({ setting, refusal }: ApiRequest<unknown>, what: string, cause?: unknown): Failure {
  return new Failure(refusal ?? "START_FAILED", `${setting}: ${what}`, { subject: setting, cause })
}

function noAnswer(request: ApiRequest<unknown>, limit: number, error: unknown): Failure {
  const { method, path, setting } = request
  const what = `Firecracker did not answer ${method} ${path}`
  const late = error instanceof Error && /timed? ?out/i.test(`${error.name} ${error.message}`)
  if (!late) return refused(request, `${what}: ${messageOf(error)}`, error)
  const message = `${setting}: ${what} in ${formatDuration(limit)}`
  return new Failure("TIMED_OUT", message, { subject: setting, cause: error })
}

function answerOf<Reply>(request: ApiRequest<Reply>, said: string): Reply {
  const { path, reply } = request
  const result = v.safeParse(reply ?? NOTHING, said === "" ? undefined : parsed(said, request))
  if (result.success) return result.output as Reply
  const [issue] = result.issues
  const at = v.getDotPath(issue)
  const words = `${at ? `${at}: ` : ""}${issue.message}`
  throw refused(request, `Firecracker answered ${path} otherwise than expected: ${words}`)
}

const NOTHING = v.undefined("no answer but success was expected")

function parsed(text: string, request: ApiRequest<unknown>): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw refused(request, `Firecracker answered ${request.path} with something that is not JSON`, error)
  }
}
