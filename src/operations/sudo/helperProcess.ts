import * as v from "valibot"
import { errorCode } from "../../base/linux/errors.ts"
import { IS_COMPILED } from "../../base/terms/compiled.ts"
import { Failure, type FailureJson, isFailure, messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { shownText } from "../../base/terms/printable.ts"
import { selfArgv } from "../../host/process/self.ts"
import {
  ANSWER_BOUNDS,
  ANSWER_MAX_BYTES,
  ASKED_BOUNDS,
  LINE_MAX_BYTES,
  messageCutter,
} from "../../inputs/helper/lines.ts"
import { type Request, readDuring, readRequest, type Said, saidSchema } from "../../inputs/helper/messages.ts"
import { strictJson } from "../../inputs/helper/strictJson.ts"
import { findProgram } from "../../store/files/programs.ts"
import { ownEnvironment } from "../../store/state/open.ts"

// This room is the user's side of `sudo banger __helper`: it asks root's helper for what needs root, and has the plugin's hooks.
// The rule: plugins run here, as the user; sudo is asked once for a command, and only for what needs it.

/** sudo has this long to start the helper, in milliseconds: it may ask name services over a network. */
const START_MAX_MS = 20_000

/** Where sudo is where PATH does not say. */
const SUDO_PATH = ["/usr/bin", "/run/wrappers/bin", "/usr/local/bin"]

/** Root's helper, which this user's process speaks to. */
export interface Helper extends Disposable {
  /** Sends a message, with the next number. Throws where it is too long for one. */
  send(message: Readonly<Record<string, unknown>>): number
  /** The next thing that it says; undefined when it has ended. */
  next(): Promise<Said | undefined>
}

/** Why there is none, in words for the end of a sentence. */
export interface Unavailable {
  readonly unavailable: string
}

/** Starts root's helper of this very `build` by sudo, without a password. What sudo or the helper refuse is the reason why not. */
export async function startHelper(build: string): Promise<Helper | Unavailable> {
  const { path: sudo } = findProgram("sudo", SUDO_PATH)
  if (sudo === undefined) return { unavailable: "there is no sudo here" }
  const child = Bun.spawn([sudo, "-n", "--", ...ownProgram(), "__helper"], {
    stdio: ["pipe", "pipe", "pipe"],
    env: ownEnvironment(),
  })
  const stderr = lastLine(child.stderr)
  const said = reading(child.stdout)
  let count = 0
  const write = (line: string) => {
    try {
      child.stdin.write(line)
      // Rejects where it has ended: how, it says itself, or nobody does.
      Promise.resolve(child.stdin.flush()).catch(() => {})
    } catch (error) {
      if (errorCode(error) !== "EPIPE") throw error
    }
  }
  const helper: Helper = {
    send(message) {
      write(lineOf({ ...message, id: ++count }))
      return count
    },
    next: said,
    [Symbol.dispose]: () => void Promise.resolve(child.stdin.end()).catch(() => {}),
  }
  try {
    write(`${JSON.stringify({ banger: build })}\n`)
    const first = await Promise.race([said(), Bun.sleep(START_MAX_MS).then(() => "late" as const)])
    if (typeof first === "object" && first.is === "hello") return helper
    if (typeof first === "object" && first.is === "failed") return unavailable(helper, first.error.message)
    if (first === "late") return unavailable(helper, "sudo has not answered")
  } catch (error) {
    return unavailable(helper, messageOf(error))
  }
  return unavailable(helper, (await stderr) ?? "sudo has ended without a word")
}

/** Asks for one thing and waits until it is done; `data` gets what it prints, `log` what it says. Throws what it failed with. */
export async function ask(
  helper: Helper,
  request: DistributiveOmit<Request, "id">,
  { log, data }: { readonly log: Log; readonly data: (bytes: Uint8Array) => unknown },
): Promise<unknown> {
  const id = helper.send(request)
  for (let said = await helper.next(); said !== undefined; said = await helper.next()) {
    if (said.is === "data") data(Buffer.from(said.bytes, "base64"))
    else if (said.is === "log") log[said.level](said.message)
    else if (said.is === "done" && said.id === id) return said.value
    else if (said.is === "failed") throw asFailed(said.error)
  }
  throw gone()
}

/** A failure that the helper has said. */
export function asFailed({ code, message, hint, subject, exit }: FailureJson): Failure {
  return new Failure(code, message, { hint, subject, exit })
}

/** What became of a helper that has said nothing of its end. */
export function gone(): Failure {
  const hint = "to see what runs: banger ps"
  return new Failure("LIVENESS_UNKNOWN", "the helper that sudo had started has ended", { hint, subject: "sudo" })
}

export type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

// --- internal ---

/** Throws UNSUPPORTED for what the helper would not take, whatever of it: it would end the conversation. */
function lineOf(message: Readonly<Record<string, unknown>>): string {
  const refused = (why: string) =>
    new Failure("UNSUPPORTED", `root's helper would not take it: ${why}`, { hint: "run it as root", subject: "sudo" })
  const text = JSON.stringify(message)
  if (Buffer.byteLength(text) >= LINE_MAX_BYTES) throw refused(`more than ${LINE_MAX_BYTES} bytes`)
  let parsed: Readonly<Record<string, unknown>>
  try {
    parsed = strictJson(text, ASKED_BOUNDS)
  } catch (error) {
    throw refused(messageOf(error))
  }
  if ((readRequest(parsed) ?? readDuring(parsed)) === undefined)
    throw refused("a word or path is too long, or has control characters")
  return `${text}\n`
}

/** As sudoers has it: sudo would run /proc/self/exe as itself. */
function ownProgram(): readonly string[] {
  return IS_COMPILED ? [process.execPath] : selfArgv()
}

function unavailable(helper: Helper, why: string): Unavailable {
  helper[Symbol.dispose]()
  return { unavailable: shownText(why) }
}

function reading(stream: ReadableStream<Uint8Array>): () => Promise<Said | undefined> {
  const cutter = messageCutter(ANSWER_MAX_BYTES, ANSWER_BOUNDS)
  const reader = stream.getReader()
  const waiting: ReturnType<typeof cutter.cut>[number][] = []
  return async () => {
    while (waiting.length === 0) {
      const { done, value } = await reader.read()
      if (done) return undefined
      waiting.push(...cutter.cut(value))
    }
    const first = waiting.shift()
    if (isFailure(first)) throw first
    return v.parse(saidSchema, first)
  }
}

/** The last line that sudo has said, which tells why it did nothing. */
async function lastLine(stream: ReadableStream<Uint8Array>): Promise<string | undefined> {
  const lines = (await new Response(stream).text()).split("\n").filter((line) => line.trim() !== "")
  return lines.at(-1)?.replace(/^sudo: /, "")
}
