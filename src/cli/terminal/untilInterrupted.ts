/**
 * Keeps this process for what `begin` starts, until a signal ends it, or `begin` calls `enough` since nobody reads any more.
 * Watches alone would not keep it.
 */
export function untilInterrupted(begin: (enough: () => void) => void): Promise<undefined> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {}, 2 ** 30)
    begin(() => {
      clearInterval(timer)
      resolve(undefined)
    })
  })
}
