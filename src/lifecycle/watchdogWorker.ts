import { writeSync } from "node:fs"
import { exitNow } from "../linux/exit.ts"
import { rememberTerminal } from "../linux/terminal.ts"
import { EXIT, reason } from "../terms/failure.ts"
import { formatDuration } from "../terms/quantity.ts"
import { abandon } from "./abandon.ts"

declare const self: Worker

/** What the main thread tells this one. */
export type ToWatchdog =
  | { kind: "watch"; what: string; limit: number }
  | { kind: "done" }
  | { kind: "here" }
  | { kind: "protect"; id: string }

/** What this thread asks the main one. */
export type FromWatchdog = "are you there?"

/** A main thread that runs at all answers within this time, in milliseconds, also on a busy host. */
const ANSWER_LIMIT = 3000

const restoreTerminal = rememberTerminal(0)
let vm: string | undefined
let timer: Timer | undefined

self.onmessage = ({ data }: MessageEvent<ToWatchdog>) => {
  if (data.kind === "protect") vm = data.id
  // An answer is enough: a thread that runs keeps its own limits.
  else clearTimeout(timer)
  if (data.kind === "watch") timer = setTimeout(ask, data.limit, data.what, data.limit)
}

function ask(what: string, limit: number): void {
  timer = setTimeout(end, ANSWER_LIMIT, what, limit)
  const question: FromWatchdog = "are you there?"
  self.postMessage(question)
}

function end(what: string, limit: number): void {
  const say = (text: string) => writeSync(2, `banger: ${text}\n`)
  restoreTerminal()
  say(`${what} did not finish in ${formatDuration(limit)} and blocks everything else`)
  try {
    if (vm !== undefined) for (const line of abandon(vm, what)) say(line)
  } catch (error) {
    say(`cleaning up failed: ${reason(error)}; to try again: banger rm -f ${vm}`)
  }
  exitNow(vm === undefined ? EXIT.usage : EXIT.failed)
}
