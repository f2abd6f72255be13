import { ownEnvironment } from "../../base/linux/environment.ts"
import { Failure } from "../../base/terms/failure.ts"
import { lineCutter } from "../../base/terms/lines.ts"
import type { Log } from "../../base/terms/log.ts"
import { hearing } from "../../base/terms/message.ts"
import { selfArgv } from "./self.ts"

/** How another banger is run. */
export interface SelfRun {
  /** Gets what it says. */
  readonly log: Log
  /** The descriptor that its data goes to; without one, it is lost. */
  readonly stdout?: number | undefined
  /** Gets it as soon as it runs, to pass signals on: then it has a session of its own, and a Ctrl-C reaches it once. */
  readonly onStart?: (child: { kill(signal: NodeJS.Signals): void }) => void
}

/**
 * Runs another banger with these words to its end. Its messages go to `log`, and so does what its hooks print. Returns the
 * failure it ended with.
 */
export async function runSelf(
  words: readonly string[],
  { log, stdout, onStart }: SelfRun,
): Promise<Failure | undefined> {
  const child = Bun.spawn([...selfArgv(), "--json", ...words], {
    stdio: ["ignore", stdout ?? "ignore", "pipe"],
    detached: onStart !== undefined,
    env: ownEnvironment(),
  })
  onStart?.(child)
  const heard = hearing(log, log.info)
  const all = eachLine(child.stderr, heard.line)
  await child.exited
  // What a hook left running may have its standard error open for ever.
  await Promise.race([all, Bun.sleep(DRAIN_MS)])
  const { exitCode, signalCode } = child
  if (exitCode === 0) return undefined
  const how = signalCode === null ? `exit status ${exitCode}` : signalCode
  // FAILED: it ended without a word, which nothing else tells.
  return (
    heard.failure() ?? new Failure("FAILED", `banger ${words.join(" ")} ended with ${how}`, { exit: exitCode ?? 1 })
  )
}

// --- internal ---

/** What a banger has said is here at its end, or never: this long is waited for it, in milliseconds. */
const DRAIN_MS = 500

async function eachLine(stream: ReadableStream<Uint8Array>, work: (line: string) => void): Promise<void> {
  const cutter = lineCutter()
  for await (const chunk of stream) cutter.cut(chunk).forEach(work)
  const rest = cutter.takeRest()
  if (rest !== "") work(rest)
}
