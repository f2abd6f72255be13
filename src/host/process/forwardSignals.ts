const FORWARDED = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const

/** Hands the signals by which a user ends a program to `pass` instead of ending this process, until it is disposed. */
export function forwardSignals(pass: (name: NodeJS.Signals) => void): Disposable {
  for (const name of FORWARDED) process.on(name, pass)
  return {
    [Symbol.dispose]() {
      for (const name of FORWARDED) process.off(name, pass)
    },
  }
}
