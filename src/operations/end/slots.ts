/** One of a number of things that may go on at a time; it ends when it is released or disposed of. To end it twice is fine. */
export interface Slot extends Disposable {
  release(): void
}

/** Lets `count` things go on at a time: `take` resolves when there is room, in the order of the calls. */
export function slotsOf(count: number): { take(): Promise<Slot> } {
  let free = count
  const waiting: (() => void)[] = []
  const giveBack = () => {
    const next = waiting.shift()
    if (next === undefined) free++
    else next()
  }
  return {
    async take() {
      if (free > 0) free--
      else await new Promise<void>((resolve) => waiting.push(resolve))
      let held = true
      const release = () => {
        if (held) giveBack()
        held = false
      }
      return { release, [Symbol.dispose]: release }
    },
  }
}
