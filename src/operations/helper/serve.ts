import * as v from "valibot"
import { sendDatagram } from "../../base/linux/datagram.ts"
import { sudoUser } from "../../base/linux/harden.ts"
import { Failure, failureJson } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { helloSchema, type Request, readRequest } from "../../inputs/helper/messages.ts"
import { readConfig, SUDO_VMS_DEFAULT_COUNT } from "../../store/state/config.ts"
import { ensureRuntime, openState, ownPlaces } from "../../store/state/open.ts"
import { leaveUsersCgroup } from "../../supervisor/leaveCaller.ts"
import { type Caller, callerOf } from "./caller.ts"
import { type Channel, openChannel } from "./channel.ts"
import { runFor } from "./runFor.ts"
import { takeHelperSlot } from "./slots.ts"
import { isTold, obey, tell } from "./verbs.ts"

// This room is root's side of `sudo banger __helper`: it does for a user who may sudo what needs root, by a closed list of verbs.
// The rule: nothing that the user says is a word of a command, a path that root opens with its own rights, or code that root runs.

/** The first line must have come by then, and each next request, in milliseconds. */
const PATIENCE_MS = 30_000

/** What is done at once has this long, in milliseconds; what waits for a VM has the VM's own limits. */
const TELL_MAX_MS = 30_000

/** So many requests in a row that are none end the conversation. */
const BAD_MAX_COUNT = 3

/**
 * Serves one user by standard input and output until they have no more to say. Both sides must be of one `build`. Throws UNTRUSTED,
 * told to the other side too, unless this process is hardened and sudo says which user of this host has asked.
 */
export async function serve(build: string): Promise<void> {
  const channel = openChannel()
  const fail = (error: unknown, id?: number) =>
    channel.say({ is: "failed", ...(id !== undefined && { id }), ...failureJson(error) })
  try {
    const user = sudoUser()
    if (user === undefined)
      throw new Failure("USAGE", "__helper: its name is to be the first word and the only one", { subject: "__helper" })
    const caller = callerOf(user.uid)
    leaveUsersCgroup()
    const vmsMax = readConfig(ownPlaces().config).sudoVms ?? SUDO_VMS_DEFAULT_COUNT
    using _slot = takeHelperSlot(ensureRuntime, caller.uid, vmsMax)
    await greet(channel, { build, uid: caller.uid })
    await converse(channel, { caller, vmsMax }, fail)
  } catch (error) {
    fail(error)
    await channel.flushed()
    throw error
  }
  await channel.flushed()
}

// --- internal ---

async function greet(
  channel: Channel,
  { build, uid }: { readonly build: string; readonly uid: number },
): Promise<void> {
  const first = await inTime(channel.next())
  const hello = v.safeParse(helloSchema, first)
  if (!hello.success) throw new Failure("BAD_FILE", "not a message: a greeting is expected", { subject: "message" })
  if (hello.output.banger !== build) {
    const hint = `run the banger that sudo runs: this is ${build}`
    throw new Failure("UNSUPPORTED", "the banger that asks is of another build than the one that sudo runs", {
      hint,
      subject: "banger",
    })
  }
  channel.say({ is: "hello", banger: build, uid })
}

/** Who is served, and how many VMs they may have. */
interface Served {
  readonly caller: Caller
  readonly vmsMax: number
}

async function converse(channel: Channel, served: Served, fail: (error: unknown, id?: number) => void): Promise<void> {
  let last = 0
  for (let bad = 0; bad < BAD_MAX_COUNT; ) {
    const message = await inTime(channel.next())
    if (message === undefined) return
    const request = readRequest(message)
    if (request === undefined || request.id <= last) {
      bad++
      fail(new Failure("USAGE", "__helper: no request that is known", { subject: "message" }))
      continue
    }
    bad = 0
    last = request.id
    note(served.caller, request)
    try {
      const value = await serveOne(channel, served, request)
      channel.say({ is: "done", id: request.id, value })
    } catch (error) {
      fail(error, request.id)
    }
    // What comes while a VM runs belongs to that run.
    if (request.verb === "run") return
  }
}

async function serveOne(channel: Channel, { caller, vmsMax }: Served, request: Request): Promise<unknown> {
  if (request.verb === "run") return await runFor(caller, request, { channel, log: logTo(channel), vmsMax })
  using state = openState()
  if (isTold(request)) return await inTime(tell(state, caller.uid, request), TELL_MAX_MS)
  return await obey(state, { uid: caller.uid, channel }, request)
}

function logTo(channel: Channel): Log {
  const at = (level: "debug" | "info" | "warn" | "error") => (message: string) =>
    channel.say({ is: "log", level, message })
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") }
}

async function inTime<T>(work: Promise<T>, limitMs: number = PATIENCE_MS): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => reject(new Failure("TIMED_OUT", "__helper: it was too long", { subject: "message" })),
    limitMs,
  )
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

/** A line for the host's log: who asked for what. Facility authpriv, severity info (syslog(3)); a host without a log has none. */
function note({ uid, name }: Caller, request: Request): void {
  const vm = "vm" in request ? ` ${request.vm}` : request.verb === "run" ? ` ${JSON.stringify(request.spec.name)}` : ""
  const text = `<86>banger[${process.pid}]: uid ${uid} (${name}): ${request.verb}${vm.slice(0, 100)}`
  try {
    sendDatagram("/dev/log", Buffer.from(text), 0)
  } catch {
    // Nothing depends on it.
  }
}
