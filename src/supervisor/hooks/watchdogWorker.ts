import type { Exit } from "banger"
import { exitNow } from "../../base/linux/exit.ts"
import { rememberTerminal } from "../../base/linux/terminal.ts"
import { writeFor, writerTo } from "../../base/linux/writer.ts"
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

/** A main thread that runs at all answers within this time, in milliseconds, also on a busy host. */
const ANSWER_WAIT_MS = 3000

/**
 * Outside of what is guarded the main thread is asked once in this time, in milliseconds, and may miss this many
 * answers: more than a database that another banger holds can take. Questions are counted, not time: a process that was
 * stopped (SIGSTOP, a host asleep) has missed none.
 */
const QUESTION_INTERVAL_MS = 1000
const MISSED_MAX_COUNT = 15

const restoreTerminal = rememberTerminal(0)
let vm: Protected | undefined
let end: Exit | "started" | undefined
let released = false
/** What is guarded now, or was the last to be. */
let what = "the plugin's top-level code"
let guarded = false
let timer: Timer | undefined
let missed = 0
let json: Log["json"]

self.onmessage = ({ data }: MessageEvent<ToWatchdog>) => {
  // Any word will do: a thread that runs keeps its own limits.
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
    giveUp(`code of the plugin that goes on after ${what} has held banger up for ${waited}`)
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

/** What there is to say is said last: nobody may be listening. */
function giveUp(why: string): void {
  restoreTerminal()
  const failure = new Failure(vm === undefined ? "BAD_PLUGIN" : "HOOK_FAILED", why, { subject: what })
  if (json === undefined) say(why)
  if (vm !== undefined && !released) abandonVm(vm, failure)
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
  for (const line of said) say(line)
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
    writeFor(fd, writerTo(fd), new TextEncoder().encode(`${text}\n`), ANSWER_WAIT_MS)
  } catch {
    // A closed or full standard error: what matters is done.
  }
}
