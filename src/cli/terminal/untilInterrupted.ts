/**
 * Keeps this process for what `begin` starts, until a signal ends it, or nobody reads any more: `unread` tells, or `begin` calls `enough`.
 * Watches alone would not keep it.
 */
export function untilInterrupted(unread: AbortSignal, begin: (enough: () => void) => void): Promise<undefined> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {}, 2 ** 30)
    const enough = () => {
      clearInterval(timer)
      resolve(undefined)
    }
    unread.addEventListener("abort", enough)
    begin(enough)
  })
}
