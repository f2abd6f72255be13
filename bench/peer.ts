/** A program that does its work once for each line that it gets, and answers with a line; it starts only once. */
export interface Peer {
  round(): Promise<void>
  end(): void
}

/** Starts a peer. */
export function startPeer(argv: readonly string[]): Peer {
  const child = Bun.spawn([...argv], { stdin: "pipe", stdout: "pipe", stderr: "inherit" })
  const reader = child.stdout.getReader()
  return {
    async round() {
      child.stdin.write("\n")
      await child.stdin.flush()
      if ((await reader.read()).done) throw new Error(`${argv[0]} ended`)
    },
    end: () => child.kill(),
  }
}
