import { nameProcess } from "../../base/linux/processName.ts"
import { prefixed } from "../../base/terms/log.ts"
import type { State } from "../../store/state/open.ts"
import type { PluginHost } from "../../supervisor/hooks/pluginHost.ts"
import { restartPolicy } from "../../supervisor/restartPolicy.ts"
import type { RunOutcome } from "../../supervisor/vmContext.ts"
import { exitText } from "../../vm/exit.ts"
import type { Session } from "../../vm/session.ts"
import { backOff } from "./backOff.ts"
import type { ResolvedRun } from "./resolveRun.ts"
import { runOnce } from "./runOnce.ts"
import type { RunResult } from "./runRequest.ts"
import { takeUp } from "./takeUp.ts"

/**
 * Boots or restores the VM, or watches the one that runs already as it is asked for; and after its end boots another one, as its
 * restart policy says.
 */
export async function runUntilDone(host: PluginHost, state: State, resolved: ResolvedRun): Promise<RunResult | "left"> {
  const { request, plugin } = resolved
  const { name, restart } = plugin.spec
  if (request.supervisor === "detached") nameProcess(`banger: ${name}`)
  const policy = restartPolicy(restart, request.restarts)
  const log = prefixed(request.log, name)
  let logFile = request.logFile
  let ended: Session | undefined
  let run = resolved
  for (;;) {
    const taken = ended === undefined ? await takeUp(host, state, { run, logFile }) : undefined
    const { session, outcome, booted, ...next } =
      taken ?? (await runOnce(host, state, run, { logFile, ended, restarts: policy.restarts }))
    if (outcome === "left") return outcome
    // A first boot that failed is the user's to look at: no restart policy counts it.
    const waitMs = (booted || ended !== undefined) && !host.interrupts.stop.aborted ? policy.next(outcome) : undefined
    const why = outcome.failure?.message ?? exitText(outcome.exit)
    if (waitMs === undefined || !(await backOff(host, session, { waitMs, why, log }))) {
      session.unlock()
      return resultOf(host, session, { name, outcome })
    }
    logFile = next.logFile
    ended = session
    // A snapshot is restored once.
    run = { ...resolved, restore: undefined }
  }
}

// --- internal ---

function resultOf(
  { interrupts }: PluginHost,
  { id, layout }: Session,
  { name, outcome }: { readonly name: string; readonly outcome: RunOutcome },
): RunResult {
  // A plugin's error that nobody caught, and that came when all was done, changes nothing.
  const late = outcome.failure === undefined && interrupts.failure() !== undefined
  const interrupted = late ? undefined : interrupts.exitCode()
  return { id, name, dir: layout.dir, interrupted, ...outcome }
}
