import { Failure, inOneLine, isFailure, messageOf } from "../base/terms/failure.ts"
import { describeExit, endedWell, exitText, neverStarted } from "../vm/exit.ts"
import { releaseAll } from "../vm/release.ts"
import { postStopContext, type VmSurroundings } from "./contexts.ts"
import { postStopLedger } from "./hooks/hookProgress.ts"
import { runHooks } from "./hooks/runHooks.ts"
import { OWN_WORK_MS } from "./hooks/watchdog.ts"
import { stopMachine } from "./stopMachine.ts"
import type { RunningVm, RunOutcome, VmContext } from "./supervision.ts"

/** Makes sure that the VMM is gone, then: postStop hooks, release, final state. Whatever fails, the rest is done. */
export async function finish(
  run: VmContext,
  around: VmSurroundings,
  live: RunningVm,
  failed: Failure | undefined,
): Promise<RunOutcome> {
  const { session, log, interrupts } = run
  let broken: Failure | undefined
  const attempt = async (work: () => unknown) => {
    try {
      await work()
    } catch (error) {
      const failure = isFailure(error) ? error : new Failure("FAILED", messageOf(error), { cause: error })
      // The first is the run's own failure, and told as that.
      const first = failed ?? broken
      if (first !== undefined && first.message !== failure.message) log.error(failure.message)
      broken ??= failure
    }
  }
  await attempt(() => stopIfRunning(run, live))
  let exit = live.lost ?? neverStarted(messageOf(failed))
  const { machine } = live
  if (machine) {
    exit = { ...exit, reason: "crashed", requested: live.requested }
    await attempt(async () => {
      exit = await describeExit(run.vmm, machine, session.layout, live.requested)
    })
  }
  run.watchdog.noteEnd(exit)
  const onFailure = (error: unknown) => log.error(messageOf(error))
  await attempt(() => {
    const progress = postStopLedger(session)
    const context = (signal: AbortSignal) => postStopContext(around, signal, exit, progress.again())
    return runHooks(run, "postStop", (hooks, signal) => hooks.postStop?.(context(signal)), { onFailure, progress })
  })
  let unreleased: Failure | undefined
  await attempt(() =>
    run.watchdog.guard("cleaning up", OWN_WORK_MS.cleaning, async () => {
      unreleased = release(run)
      if (unreleased !== undefined) throw unreleased
    }),
  )
  const badEnd = endedWell(exit) ? undefined : new Failure("FAILED", `the VM ended badly: ${exitText(exit)}`)
  const failure = () => interrupts.failure() ?? failed ?? broken ?? badEnd
  await attempt(() => {
    if (session.state === "running") session.enter("stopping")
    session.enter(failure() !== undefined || session.state !== "stopping" ? "failed" : "stopped", exit)
  })
  run.watchdog.release()
  return { exit, failure: failure(), kept: false, unreleased }
}

/** All is over and done but for a reader that is behind: it is waited for until the user, or the run's limit, says so. */
export async function showRest(run: VmContext, { machine, requested }: RunningVm): Promise<void> {
  if (machine === undefined) return
  const { timeouts } = run.prepared.spec
  const limit = requested ? LAST_WORDS_MS : timeouts.run
  const enough = limit === undefined ? [] : [AbortSignal.timeout(limit)]
  if (await machine.showRest(AbortSignal.any([run.interrupts.next(), ...enough]))) return
  run.log.warn(`the console was not shown to its end; banger logs ${run.session.id} has it`)
}

// --- internal ---

/** A reader has this long, in milliseconds, to take the rest of the console of a VM that was asked to end. */
const LAST_WORDS_MS = 2000

/** Only a fault of ours (a full disk, say) leads here with a VM that runs. */
async function stopIfRunning(run: VmContext, live: RunningVm): Promise<void> {
  if (live.machine === undefined || live.gone) return
  live.requested = true
  await stopMachine(live.machine, run.prepared.spec.timeouts.stop, run.interrupts.force, run.log)
}

function release({ session, log }: VmContext): Failure | undefined {
  const leftovers = releaseAll(session.journal, session.layout, log.warn)
  for (const leftover of leftovers) log.error(`not released: ${inOneLine(leftover)}`)
  if (leftovers.length === 0) return undefined
  return new Failure("FAILED", `not everything of ${session.id} was released`, {
    hint: `to try again: banger rm ${session.id}`,
  })
}
