import { join } from "node:path"

/** An attacker at work. */
export interface Attacker {
  /** Ends it, and tells for each name how often it tried to swap it and how often that went through. */
  stop(): Promise<{ tries: number[]; swaps: number[] }>
}

/** Starts a process of another uid that swaps names of a directory with symlinks to the canary; resolves when it does. */
export function attack(uid: number, canary: string, dir: string, names: readonly string[]): Promise<Attacker> {
  return startFixture("attacker.ts", [String(uid), canary, dir, ...names])
}

/** Starts a process of another uid that opens a file for writing over and over; resolves when it does. */
export function startWriter(
  uid: number,
  path: string,
): Promise<{ stop(): Promise<{ opened: number; refused: number }> }> {
  return startFixture("writer.ts", [String(uid), path])
}

/** Starts a process of another uid that connects to a socket over and over; resolves when it does. */
export function startConnector(
  uid: number,
  path: string,
): Promise<{ stop(): Promise<{ connected: number; refused: number; absent: number }> }> {
  return startFixture("connector.ts", [String(uid), path])
}

/** Starts a process that mounts a file system of its own on a place, and takes it off, over and over; resolves when it does. */
export function startStacker(place: string): Promise<{ stop(): Promise<{ stacked: number; destroyed: number }> }> {
  return startFixture("stacker.ts", [place])
}

// --- internal ---

/** Starts a fixture that says "ready", and tells its numbers as JSON when its standard input ends. */
async function startFixture<T>(name: string, args: readonly string[]): Promise<{ stop(): Promise<T> }> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../../fixtures", name), ...args], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  })
  const reader = child.stdout.getReader()
  const decoder = new TextDecoder()
  let said = ""
  const until = async (done: () => boolean) => {
    while (!done()) {
      const { value, done: ended } = await reader.read()
      if (ended) throw new Error(`the attacker ended: ${said}`)
      said += decoder.decode(value)
    }
  }
  await until(() => said.includes("ready\n"))
  return {
    async stop() {
      await child.stdin.end()
      await until(() => said.endsWith("}\n"))
      await child.exited
      return JSON.parse(said.slice(said.indexOf("{")))
    },
  }
}
