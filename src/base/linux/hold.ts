/** The longest that a timer can take, in milliseconds: 24 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

let held: Timer | undefined
let idle: (() => void) | undefined

/** Keeps this process until it ends by itself: work that waits for the kernel alone would not. */
export function holdProcess(): void {
  held ??= setInterval(() => {}, LONGEST_TIMER_MS)
}

/**
 * Calls `work` once nothing that runs in this process (a timer, a socket, a child, unless it was unref'ed) could call any
 * code again, and keeps the process after that as `holdProcess` does. Returns what takes it back.
 */
export function onceIdle(work: () => void): () => void {
  const wait = () => {
    holdProcess()
    idle = undefined
    process.off("beforeExit", wait)
    work()
  }
  if (idle !== undefined) throw new Error("something waits for this process to be idle already")
  idle = wait
  process.on("beforeExit", wait)
  clearInterval(held)
  held = undefined
  return () => {
    if (idle !== wait) return
    holdProcess()
    idle = undefined
    process.off("beforeExit", wait)
  }
}
