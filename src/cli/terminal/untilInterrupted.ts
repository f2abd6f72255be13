import { EXIT } from "../../base/terms/failure.ts"

/**
 * Goes on with what `begin` starts until a signal ends this process, or `begin` is told that it is enough: nobody reads any
 * more. Watches alone would not keep it. Returns the exit code.
 */
export function untilInterrupted(begin: (enough: () => void) => void): Promise<number> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {}, 2 ** 30)
    begin(() => {
      clearInterval(timer)
      resolve(EXIT.ok)
    })
  })
}
