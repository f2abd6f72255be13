import { formatDuration } from "../base/terms/quantity.ts"
import { openState } from "../store/state/open.ts"
import { noteRestart } from "../store/state/records.ts"
import { restartPolicy } from "../supervisor/restartPolicy.ts"
import type { RunOutcome } from "../supervisor/supervision.ts"
import { exitText } from "../vm/exit.ts"
import type { Session } from "../vm/session.ts"
import { type ReadyBoot, runOnce } from "./runOnce.ts"
import type { RunRequest, RunResult } from "./runRequest.ts"

/** Boots the VM, and after its end another one, as its restart policy says. */
export async function runUntilDone(boot: ReadyBoot): Promise<RunResult | "left"> {
  const { request, runner } = boot
  const state = openState()
  const policy = restartPolicy(runner.prepared.spec.restart)
  const logFile = { path: request.logFile }
  try {
    let ended: Session | undefined
    for (;;) {
      const booted = { was: false }
      const { session, outcome } = await runOnce(boot, state, { logFile, ended, booted })
      if (outcome === "left") return outcome
      const wait = booted.was || ended !== undefined ? policy.next(outcome) : undefined
      const again =
        wait !== undefined &&
        !runner.interrupts.stop.aborted &&
        (await backOff(request, runner, session, outcome, wait))
      if (!again) {
        session.unlock()
        return resultOf(session, runner, outcome)
      }
      ended = session
    }
  } finally {
    state.db.close()
  }
}

// --- internal ---

function resultOf(
  { id, layout }: Session,
  { prepared, interrupts }: ReadyBoot["runner"],
  outcome: RunOutcome,
): RunResult {
  // A plugin's error that nobody caught, and that came when all was done, changes nothing.
  const late = outcome.failure === undefined && interrupts.failure() !== undefined
  const interrupted = late ? undefined : interrupts.exitCode()
  return { id, name: prepared.spec.name, dir: layout.dir, interrupted, ...outcome }
}

/** Waits, with the ended VM's lock held so that it can be told to stop waiting; false when it was. */
async function backOff(
  { log }: RunRequest,
  { interrupts, prepared }: ReadyBoot["runner"],
  { db, id }: Session,
  { failure, exit }: RunOutcome,
  wait: number,
): Promise<boolean> {
  const { name } = prepared.spec
  log.warn(`${name}: ${failure?.message ?? exitText(exit)}; booting it again in ${formatDuration(wait)}`)
  noteRestart(db, id, Date.now() + wait)
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, wait)
  interrupts.stop.addEventListener("abort", () => resolve(), { once: true })
  await promise
  clearTimeout(timer)
  if (!interrupts.stop.aborted) return true
  noteRestart(db, id, null)
  return false
}
