import { writeSync } from "node:fs"
import { formatSize } from "../../base/terms/quantity.ts"
import type { Manner } from "./output.ts"

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
  const shown = process.stderr.isTTY === true && !quiet && !json && !process.env.CI && !process.env.BANGER_NO_PROGRESS
  if (!shown) return { update: () => {}, end: () => {} }
  const started = performance.now()
  let drawn = 0
  let first: number | undefined
  return {
    update(done, total) {
      first ??= done
      const now = performance.now()
      if (now - drawn < REDRAW_MS) return
      drawn = now
      draw(`\r\x1b[K${progressText(label, done, total, (done - first) / ((now - started) / 1000))}`)
    },
    end: () => draw("\r\x1b[K"),
  }
}

/** `vmlinux  12M of 42M  28%  5.1M/s`. Pure. */
export function progressText(label: string, done: number, total: number | undefined, rate: number): string {
  const of = total === undefined || total === 0 ? "" : ` of ${formatSize(total)}  ${Math.floor((done / total) * 100)}%`
  return `${label}  ${formatSize(done)}${of}  ${formatSize(Math.round(rate))}/s`
}

// --- internal ---

function draw(text: string): void {
  try {
    writeSync(STDERR, text)
  } catch {
    // A download goes on without anybody seeing its progress.
  }
}
