import * as v from "valibot"
import { Failure, isFailure, messageOf } from "../../base/terms/failure.ts"
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
  /**
   * Makes requests in order and all at once: those behind a refused one are made as well. `onStep` is called with each that is
   * waited for. Returns the answer of the first; rejects as `request` with the first failure.
   */
  requestAll<Reply>(
    first: ApiRequest<Reply>,
    more: readonly ApiRequest[],
    onStep: (request: ApiRequest<unknown>) => void,
  ): Promise<Reply>
}

/** Firecracker answers most requests within milliseconds; a snapshot has a limit of its own. */
const ANSWER_WAIT_MS = 10_000

/** Firecracker takes no larger body (its default of --http-api-max-payload-size). */
export const BODY_MAX_BYTES = 51_200

/** No answer of Firecracker's is larger than what it was told. */
const ANSWER_MAX_BYTES = 512 * 1024

const faultSchema = v.union([v.object({ fault_message: v.string() }), v.object({ error: v.string() })])

/**
 * The API behind a unix socket. One connection is made at a time: the server takes few, and serves one request after the other
 * anyway.
 */
export function openApi(socket: string, limit: number = ANSWER_WAIT_MS): Api {
  let last: Promise<unknown> = Promise.resolve()
  const queue = <Result>(work: () => Promise<Result>) => {
    const next = last.then(work)
    // The next waits for the end of this one, good or bad.
    last = next.catch(() => {})
    return next
  }
  const requestAll: Api["requestAll"] = async <Reply>(
    first: ApiRequest<Reply>,
    more: readonly ApiRequest[],
    onStep: (asked: Asked) => void,
  ) => {
    const [reply] = await queue(() => ask(socket, [first, ...more], { limit, onStep }))
    return reply as Reply
  }
  return { requestAll, request: (request) => requestAll(request, [], () => {}) }
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

type Asked = ApiRequest<unknown>

interface Asking {
  /** Milliseconds for all answers. */
  readonly limit: number
  readonly onStep: (request: Asked) => void
}

/** The replies to requests, in their order. */
async function ask(socket: string, requests: readonly Asked[], { limit, onStep }: Asking): Promise<unknown[]> {
  const texts = requests.map(({ method, path, ...request }) => ({ method, path, body: textOf(request) }))
  const replies: unknown[] = []
  let waiting: Asked | undefined
  const step = () => {
    const next = requests[replies.length]
    if (next === undefined) return
    waiting = next
    onStep(next)
  }
  step()
  const onAnswer = (answer: HttpAnswer) => {
    if (waiting !== undefined) replies.push(replyTo(waiting, answer))
    step()
  }
  try {
    await exchange(socket, texts, { signal: AbortSignal.timeout(limit), limit: ANSWER_MAX_BYTES, onAnswer })
  } catch (error) {
    throw isFailure(error) || waiting === undefined ? error : noAnswer(waiting, limit, error)
  }
  return replies
}

function textOf({ body, setting }: Pick<Asked, "body" | "setting">): string | undefined {
  if (body === undefined) return undefined
  const text = JSON.stringify(body)
  const length = Buffer.byteLength(text)
  if (length <= BODY_MAX_BYTES) return text
  const message = `${setting}: ${length} bytes; Firecracker takes ${BODY_MAX_BYTES} at most`
  throw new Failure("BAD_PLUGIN", message, { subject: setting })
}

function replyTo(request: Asked, { status, text }: HttpAnswer): unknown {
  if (status === 200 || status === 204) return answerOf(request, text)
  const fault = faultOf(status, text)
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
