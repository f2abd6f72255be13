import type { Sink } from "../../store/logs/growing.ts"

/** A console that comes from root's helper. */
export interface ShownConsole {
  show(bytes: Uint8Array): void
  /** Resolves when all of it is shown, or it was enough. */
  rest(enough: AbortSignal): Promise<void>
}

/** Shows a console as its reader takes it, and says how much was shown: the helper sends no more than a reader may be behind. */
export function shownConsole(sink: Sink | undefined, onShown: (bytes: number) => void): ShownConsole {
  const waiting: Uint8Array[] = []
  let timer: Timer | undefined
  const drain = () => {
    let shown = 0
    for (let [first] = waiting; first !== undefined; [first] = waiting) {
      const taken = sink?.(first) ?? first.length
      shown += taken
      if (taken < first.length) {
        waiting[0] = first.subarray(taken)
        break
      }
      waiting.shift()
    }
    if (shown > 0) onShown(shown)
    if (waiting.length === 0) {
      clearInterval(timer)
      timer = undefined
    } else timer ??= setInterval(drain, SLOW_READER_WAIT_MS)
  }
  return {
    show(bytes) {
      waiting.push(bytes)
      if (timer === undefined) drain()
    },
    async rest(enough) {
      while (waiting.length > 0 && !enough.aborted) await Bun.sleep(SLOW_READER_WAIT_MS)
      clearInterval(timer)
    },
  }
}

// --- internal ---

/** How long to wait before bytes are offered again to a slow reader, in milliseconds. */
const SLOW_READER_WAIT_MS = 20
