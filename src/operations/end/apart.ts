import type { Failure } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { runSelf } from "../../host/process/runSelf.ts"
import type { Interrupts } from "../../supervisor/hooks/interrupts.ts"

/**
 * Has another banger end a VM by these words, because a process loads one plugin. Interrupts are passed on. Returns the failure that
 * it ended with.
 */
export async function runApart(
  words: readonly string[],
  { interrupts, log }: { readonly interrupts: Interrupts; readonly log: Log },
): Promise<Failure | undefined> {
  const over = new AbortController()
  try {
    return await runSelf(words, {
      log,
      onStart(child) {
        for (const signal of [interrupts.stop, interrupts.force])
          signal.addEventListener("abort", () => child.kill("SIGINT"), { signal: over.signal })
      },
    })
  } finally {
    over.abort()
  }
}
