import type { Hooks } from "banger"
import { asFailure, type FailureJson, failureJson } from "../../base/terms/failure.ts"
import type { HookName } from "../../inputs/plugin/definition.ts"
import type { ResolvedPlugin } from "../../inputs/plugin/resolved.ts"
import type { Session } from "../../vm/session.ts"
import { inOrder, runHook } from "./callHook.ts"
import type { HookProgress } from "./hookProgress.ts"
import type { PluginHost } from "./pluginHost.ts"

/** The VM whose hooks are run. */
interface HookedVm {
  readonly plugin: ResolvedPlugin
  readonly session: Pick<Session, "note">
}

/** How hooks of one kind are run. */
export interface HookOptions {
  /** Calls the hook of one plugin. */
  readonly call: (hooks: Hooks, signal: AbortSignal) => unknown
  /** Gets each failure instead of its being thrown; the rest of the hooks still run. */
  readonly onFailure?: (failure: unknown) => void
  /** Interrupts the hooks when aborted, as a signal from the user does. */
  readonly until?: AbortSignal
  /** Skips what is done, and notes what gets done. */
  readonly progress?: HookProgress
}

/** Runs one kind of hook of every plugin, in the order of its kind, each noted in events.jsonl with its time. */
export async function runHooks(
  { interrupts, trace, watchdog }: PluginHost,
  { plugin, session }: HookedVm,
  name: Exclude<HookName, "configure">,
  { call, onFailure, until, progress }: HookOptions,
): Promise<void> {
  const { timeouts } = plugin.spec
  for (const [index, hooks] of inOrder(plugin.loaded, name).entries()) {
    if (index < (progress?.done ?? 0)) continue
    progress?.begin(index)
    const next = interrupts.next()
    const interrupt = until === undefined ? next : AbortSignal.any([next, until])
    const limit = timeouts[name] ?? timeouts.hook
    const start = performance.now()
    const note = (more: { readonly error?: FailureJson } = {}) =>
      session.note({ event: "hook", hook: name, durationMs: Math.round(performance.now() - start), ...more })
    try {
      const run = () => runHook(name, { limit, interrupt }, (signal) => call(hooks, signal))
      await trace.span(`hook:${name}`, () => watchdog.guard(name, limit, run))
      progress?.end(index)
      note()
    } catch (error) {
      progress?.end(index)
      note(failureJson(asFailure(error, "HOOK_FAILED")))
      if (onFailure === undefined) throw error
      onFailure(error)
    }
  }
}
