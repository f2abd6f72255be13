import { formatDuration } from "../base/terms/quantity.ts"
import { parseSpec } from "../inputs/plugin/definition.ts"
import type { State } from "../store/state/open.ts"
import { noteRestart, type VmRecord } from "../store/state/records.ts"
import type { PluginHost } from "../supervisor/hooks/pluginHost.ts"
import { restartPolicy } from "../supervisor/restartPolicy.ts"
import type { RunOutcome } from "../supervisor/supervision.ts"
import { exitText } from "../vm/exit.ts"
import { detach } from "./detach.ts"
import { rerunArgv } from "./rerun.ts"

/**
 * Boots a VM again that was taken over and has ended, where its restart policy says so: in a process of its own, which loads
 * the plugin as any run does and goes on by the policy. The VM's lock is held all the while, so that it can be told not to.
 */
export async function restartDetached(
  state: State,
  record: VmRecord,
  outcome: Pick<RunOutcome, "failure" | "exit">,
  { log, interrupts }: Pick<PluginHost, "log" | "interrupts">,
): Promise<void> {
  const wait = interrupts.stop.aborted ? undefined : restartPolicy(restartOf(record)).next(outcome)
  if (wait === undefined) return
  const { id, name } = record
  const why = outcome.failure?.message ?? exitText(outcome.exit)
  log.warn(`${why}; booting it again in ${formatDuration(wait)}, in the background`)
  noteRestart(state.db, id, Date.now() + wait)
  try {
    await waited(wait, interrupts.stop)
    if (interrupts.stop.aborted) return
    const vm = await detach("__run", rerunArgv(state, id), log.info)
    if (typeof vm === "number") log.error(`${name} was not booted again (exit code ${vm})`)
  } finally {
    noteRestart(state.db, id, null)
  }
}

// --- internal ---

function restartOf({ spec, plugin_path }: VmRecord): Parameters<typeof restartPolicy>[0] {
  return parseSpec(JSON.parse(spec), { path: plugin_path, text: "" }).restart
}

function waited(ms: number, stop: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  stop.addEventListener("abort", () => resolve(), { once: true })
  return promise.finally(() => clearTimeout(timer))
}
