import { writeSync } from "node:fs"
import type { Log } from "../../base/terms/log.ts"
import { formatSize } from "../../base/terms/quantity.ts"
import type { Manner, Output } from "./output.ts"

/** A line that tells how far something is; `end` takes it away. */
export interface Progress {
  readonly update: (done: number, total: number | undefined) => void
  readonly end: () => void
}

const STDERR = 2

/** Drawn at most this often, in milliseconds. */
const REDRAW_MS = 100

/** A line on standard error where that is a terminal; nothing with `--quiet`, `--json`, CI or BANGER_NO_PROGRESS in the environment. */
export function startProgress(label: string, { quiet, json }: Pick<Manner, "quiet" | "json">): Progress {
  if (!isShown({ quiet, json })) return { update: () => {}, end: () => {} }
  const started = performance.now()
  let drawn = 0
  let first: number | undefined
  return {
    update(done, total) {
      first ??= done
      const now = performance.now()
      if (now - drawn < REDRAW_MS) return
      drawn = now
      const rate = (done - first) / ((now - started) / 1000)
      draw(`\r\x1b[K${progressText(label, { done, total, rate })}`)
    },
    end: () => draw("\r\x1b[K"),
  }
}

/** A count that goes up: `stopping 312/1000 …`. */
export interface Counter {
  /** One more is done. */
  readonly step: () => void
  /** Messages beside the line. */
  readonly log: Log
  readonly end: () => void
}

/** As `startProgress`, of things that are counted; where there is no line to draw, a message says every 10 s how far it is. */
export function startCounter(label: string, total: number, { manner, log }: Pick<Output, "manner" | "log">): Counter {
  let done = 0
  const text = () => `${label} ${done}/${total} …`
  if (!isShown(manner)) {
    const telling = setInterval(() => log.info(text()), TELL_MS)
    telling.unref()
    return { step: () => void done++, log, end: () => clearInterval(telling) }
  }
  const line = () => draw(`\r\x1b[K${text()}`)
  let soon: Timer | undefined
  const beside = (say: (message: string) => void) => (message: string) => {
    draw("\r\x1b[K")
    say(message)
    line()
  }
  line()
  return {
    step() {
      done++
      soon ??= setTimeout(() => {
        soon = undefined
        line()
      }, REDRAW_MS)
    },
    log: {
      ...{ json: log.json, debug: beside(log.debug), info: beside(log.info) },
      ...{ warn: beside(log.warn), error: beside(log.error) },
    },
    end() {
      clearTimeout(soon)
      draw("\r\x1b[K")
    },
  }
}

/** `vmlinux  12M of 42M  28%  5.1M/s`, of bytes and bytes a second. Pure. */
export function progressText(
  label: string,
  { done, total, rate }: { readonly done: number; readonly total: number | undefined; readonly rate: number },
): string {
  const of = total === undefined || total === 0 ? "" : ` of ${formatSize(total)}  ${Math.floor((done / total) * 100)}%`
  return `${label}  ${formatSize(done)}${of}  ${formatSize(Math.round(rate))}/s`
}

// --- internal ---

/** How often a message tells how far something is, in milliseconds. */
const TELL_MS = 10_000

function isShown({ quiet, json }: Pick<Manner, "quiet" | "json">): boolean {
  return process.stderr.isTTY === true && !quiet && !json && !process.env.CI && !process.env.BANGER_NO_PROGRESS
}

function draw(text: string): void {
  try {
    writeSync(STDERR, text)
  } catch {
    // A download needs nobody who sees its progress.
  }
}
