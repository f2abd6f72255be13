import { ownEnvironment } from "../../base/linux/environment.ts"
import { Failure, isFailure } from "../../base/terms/failure.ts"
import { lineCutter } from "../../base/terms/lines.ts"
import { readMessage } from "../../base/terms/message.ts"
import { selfArgv } from "../../host/process/self.ts"
import type { Request, Verb } from "../../inputs/helper/messages.ts"
import type { State } from "../../store/state/open.ts"
import { listRecords, listUnfinished, type VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { ownerOf } from "../../vm/request.ts"
import { statusOf } from "../../vm/status.ts"
import { inspectVm } from "../inspect.ts"
import type { Channel } from "./channel.ts"

/** A command of banger's own may not be held up by a reader for more bytes than these. */
const WAITING_MAX_BYTES = 512 * 1024
const POLL_MS = 20
const CHUNK_BYTES = 32 * 1024

/** What of its VMs a caller is told at once. */
export async function tell(state: State, uid: number, request: Request<"list" | "inspect">): Promise<unknown> {
  if (request.verb === "inspect") return await inspectVm(state, ownRecord(state, uid, request.vm).id)
  const records = request.all === true ? listRecords(state.db) : listUnfinished(state.db)
  return records.filter((record) => ownerOf(record) === uid).map((record) => statusOf(state, record))
}

/**
 * Has a banger of root's do with a caller's VM what a verb says, by words that are made here: of the caller's there is only the VM,
 * which is looked for among their own and named by its id. What it prints goes to the channel as it comes; it ends when the
 * channel does. Throws the failure that it ends with.
 */
export async function obey(
  state: State,
  { uid, channel }: { readonly uid: number; readonly channel: Channel },
  request: Exclude<Request, Request<"list" | "inspect" | "run">>,
): Promise<void> {
  const words = wordsOf(request, ownRecord(state, uid, request.vm).id)
  const child = Bun.spawn([...selfArgv(), ...words], {
    stdio: ["ignore", "pipe", "pipe"],
    // No key of the caller's terminal reaches it.
    detached: true,
    cwd: "/",
    env: ownEnvironment(),
  })
  const end = () => child.kill("SIGTERM")
  channel.over.addEventListener("abort", end, { once: true })
  if (channel.over.aborted) end()
  const [failure] = await Promise.all([messages(child.stderr, channel), data(child.stdout, channel)])
  await child.exited
  channel.over.removeEventListener("abort", end)
  if (failure !== undefined) throw failure
  if (child.signalCode !== null) throw new Failure("INTERRUPTED", `banger ${request.verb}: ${child.signalCode}`)
  if (child.exitCode !== 0) throw new Failure("INTERNAL", `banger ${request.verb} ended with ${child.exitCode}`)
}

/** The words of the command that a verb stands for. Pure. */
export function wordsOf(request: Exclude<Request, Request<"list" | "inspect" | "run">>, id: string): readonly string[] {
  const { verb } = request
  const flag = (given: boolean | undefined, word: string) => (given === true ? [word] : [])
  const timeout = "timeoutMs" in request && request.timeoutMs !== undefined ? [`--timeout=${request.timeoutMs}ms`] : []
  if (verb === "logs") {
    const which = request.which === "console" ? [] : [`--${request.which}`]
    const tail = request.tail === undefined ? [] : [`--tail=${request.tail}`]
    return [verb, ...which, ...tail, ...flag(request.follow, "--follow"), ...flag(request.json, "--json"), id]
  }
  // Its data are lines of JSON as they are.
  if (verb === "events") return [verb, ...flag(request.follow, "--follow"), id]
  if (verb === "rm") return ["--json", verb, ...flag(request.force, "--force"), id]
  return ["--json", verb, ...timeout, id]
}

/** Whether a verb asks for a VM of the caller's to be run. Pure. */
export function isTold(request: Request): request is Request<"list" | "inspect"> {
  return (["list", "inspect"] satisfies Verb[] as readonly Verb[]).includes(request.verb)
}

// --- internal ---

/** The one of a caller's own VMs that a word means: by id, by name (the live one, else the newest), or by the beginning of an id. */
function ownRecord({ db }: Pick<State, "db">, uid: number, word: string): VmRecord {
  const own = listRecords(db).filter((record) => ownerOf(record) === uid)
  const named = own.filter(({ name }) => name === word)
  const began = own.filter(({ id }) => id.startsWith(word) && word.length > id.lastIndexOf("-") + 1)
  const [begun] = began.length === 1 ? began : []
  const found = own.find(({ id }) => id === word) ?? named.find(({ state }) => !isFinal(state)) ?? named[0] ?? begun
  if (found !== undefined) return found
  // The same words for another's VM and for none.
  throw new Failure("NO_SUCH_VM", `no VM ${JSON.stringify(word)}`, { hint: "banger ps -a lists yours", subject: word })
}

async function messages(stream: ReadableStream<Uint8Array>, channel: Channel): Promise<Failure | undefined> {
  const cutter = lineCutter()
  let failure: Failure | undefined
  for await (const chunk of stream)
    for (const line of cutter.cut(chunk)) {
      const said = readMessage(line)
      if (isFailure(said)) failure = said
      else channel.say({ is: "log", ...(said ?? { level: "info", message: line }) })
    }
  return failure
}

/** As fast as the other side takes it: the command waits for its reader as ever. */
async function data(stream: ReadableStream<Uint8Array>, channel: Channel): Promise<void> {
  for await (const chunk of stream) {
    for (let at = 0; at < chunk.length; at += CHUNK_BYTES)
      channel.say({ is: "data", bytes: Buffer.from(chunk.subarray(at, at + CHUNK_BYTES)).toString("base64") })
    while (channel.waitingBytes > WAITING_MAX_BYTES && !channel.over.aborted) await Bun.sleep(POLL_MS)
  }
}
