/** Goes on until a signal ends this process: watches alone would not keep it. */
export function untilInterrupted(): Promise<never> {
  return new Promise(() => setInterval(() => {}, 2 ** 30))
}
