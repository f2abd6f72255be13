import type { Exit } from "banger"
import { exitNow } from "../../base/linux/exit.ts"
import { rememberTerminal } from "../../base/linux/terminal.ts"
import { writeFor } from "../../base/linux/writer.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { failureLine, messageLine } from "../../base/terms/message.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { neverStarted, resultJson } from "../../vm/exit.ts"
import { killAndCleanUp } from "./killAndCleanUp.ts"

declare const self: Worker

/** The VM to clean up, and how its end is told. */
export interface Protected {
  readonly id: string
  readonly name: string
  readonly dir: string
  readonly json: boolean
}

/** What the main thread tells this one. */
export type ToWatchdog =
  /** How to speak: as this process's log does. */
  | { kind: "speak"; json: Log["json"] }
  | { kind: "watch"; what: string; limit: number }
  | { kind: "done" }
  | { kind: "here" }
  | { kind: "protect"; vm: Protected }
  | { kind: "end"; exit: Exit | "started" }
  | { kind: "release" }

/** What this thread asks the main one. */
export type FromWatchdog = "are you there?"

/** A main thread that runs at all answers within this many milliseconds, also on a busy host. */
const ANSWER_WAIT_MS = 3000

/**
 * Outside of hooks the main thread is asked once in so many milliseconds, and may miss so many answers: more than a database
 * that another banger holds can take. Questions are counted, not seconds, so that a paused process (SIGSTOP, suspend) is not
 * punished.
 */
const QUESTION_INTERVAL_MS = 1000
const MISSED_MAX_COUNT = 15

const restoreTerminal = rememberTerminal(0)
let vm: Protected | undefined
let end: Exit | "started" | undefined
let released = false
/** What is guarded now, or was guarded last. */
let what = "the plugin's top-level code"
let guarded = false
let timer: Timer | undefined
let missed = 0
let json: Log["json"]

self.onmessage = ({ data }: MessageEvent<ToWatchdog>) => {
  // Any message proves that the main thread runs; while it runs, it keeps its own limits.
  missed = 0
  if (data.kind === "speak") json = data.json
  else if (data.kind === "protect") {
    vm = data.vm
    end = undefined
    released = false
  } else if (data.kind === "end") end = data.exit
  else if (data.kind === "release") released = true
  else clearTimeout(timer)
  if (data.kind === "done") guarded = false
  if (data.kind === "watch") {
    what = data.what
    guarded = true
    timer = setTimeout(ask, data.limit, data.limit)
  }
}

setInterval(() => {
  if (guarded) return
  const waited = formatDuration(missed * QUESTION_INTERVAL_MS)
  if (missed++ === MISSED_MAX_COUNT)
    giveUp(`code of the plugin that runs on after ${what} has held banger up for ${waited}`)
  question()
}, QUESTION_INTERVAL_MS)

function ask(limit: number): void {
  guarded = false
  timer = setTimeout(
    giveUp,
    ANSWER_WAIT_MS,
    `${what} did not finish in ${formatDuration(limit)} and blocks everything else`,
  )
  question()
}

function question(): void {
  const text: FromWatchdog = "are you there?"
  self.postMessage(text)
}

/** Cleans up first, and prints last: writing to a stalled reader can block. */
function giveUp(why: string): void {
  restoreTerminal()
  const failure = new Failure("TIMED_OUT", why, { subject: vm?.id })
  if (vm === undefined || released) {
    if (json === undefined) say(why)
  } else abandonVm(vm, failure)
  if (json !== undefined) write(json.stderr, failureLine(failure))
  exitNow(failure.exit)
}

function abandonVm({ id, name, dir, json: document }: Protected, failure: Failure): void {
  const why = failure.message
  const exit = exitOf(why)
  let said: readonly string[]
  try {
    said = killAndCleanUp(id, exit)
  } catch (error) {
    said = [`cleaning up failed: ${messageOf(error)}; to try again: banger rm -f ${id}`]
  }
  for (const line of json === undefined ? [why, ...said] : said) say(line)
  if (document) write(json?.stdout ?? 1, resultJson({ id, name, exit, failure, kept: false, dir }))
}

function exitOf(why: string): Exit {
  if (end === undefined) return neverStarted(why)
  if (end !== "started") return end
  return { reason: "killed", requested: true, code: null, signal: "SIGKILL", panic: undefined, detail: why }
}

function say(text: string): void {
  if (json === undefined) write(2, `banger: ${text}`)
  else write(json.stderr, messageLine("warn", text))
}

function write(fd: number, text: string): void {
  try {
    writeFor(fd, new TextEncoder().encode(`${text}\n`), { patienceMs: ANSWER_WAIT_MS })
  } catch {
    // A closed or full standard error: what matters is done.
  }
}
