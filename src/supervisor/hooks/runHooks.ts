import type { Hooks } from "banger"
import { reason } from "../../base/terms/failure.ts"
import type { HookName } from "../../inputs/plugin/definition.ts"
import type { Prepared } from "../../inputs/plugin/prepared.ts"
import type { Session } from "../../vm/session.ts"
import { inOrder, runHook } from "./callHook.ts"
import type { Ledger } from "./hookProgress.ts"
import type { Interrupts } from "./interrupts.ts"
import type { Trace } from "./trace.ts"
import type { Watchdog } from "./watchdog.ts"

/** What running a VM's hooks needs. */
export interface HookRunner {
  readonly prepared: Prepared
  readonly session: Session
  readonly interrupts: Interrupts
  readonly trace: Trace
  readonly watchdog: Watchdog
}

/** What may change how hooks of one kind are run. */
export interface HookOptions {
  /** Gets each failure instead of its being thrown; the rest of the hooks still run. */
  readonly onFailure?: (failure: unknown) => void
  /** Interrupts the hooks when aborted, as a signal from the user does. */
  readonly until?: AbortSignal
  /** Skips what is done, and notes what gets done. */
  readonly ledger?: Ledger
}

/** Runs one kind of hook of every plugin, in the order of its kind, each noted in events.jsonl with its time. */
export async function runHooks(
  { prepared, session, interrupts, trace, watchdog }: HookRunner,
  name: Exclude<HookName, "configure">,
  call: (hooks: Hooks, signal: AbortSignal) => unknown,
  { onFailure, until, ledger }: HookOptions = {},
): Promise<void> {
  const { timeouts } = prepared.spec
  for (const [index, hooks] of inOrder(prepared.loaded, name).entries()) {
    if (index < (ledger?.done ?? 0)) continue
    ledger?.begin(index)
    const next = interrupts.next()
    const interrupt = until === undefined ? next : AbortSignal.any([next, until])
    const limit = timeouts[name] ?? timeouts.hook
    const start = performance.now()
    const note = (error?: string) =>
      session.note({ event: "hook", hook: name, ms: Math.round(performance.now() - start), error })
    try {
      const run = () => runHook(name, { limit, interrupt }, (signal) => call(hooks, signal))
      await trace.span(`hook:${name}`, () => watchdog.guard(name, limit, run))
      ledger?.end(index)
      note()
    } catch (error) {
      ledger?.end(index)
      note(reason(error))
      if (onFailure === undefined) throw error
      onFailure(error)
    }
  }
}
