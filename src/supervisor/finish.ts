import { Failure, inOneLine, isFailure, reason } from "../base/terms/failure.ts"
import { describeExit, endedWell, exitText, neverStarted } from "../vm/exit.ts"
import { releaseAll } from "../vm/release.ts"
import { postStopContext, type VmSurroundings } from "./contexts.ts"
import { postStopLedger } from "./hooks/hookProgress.ts"
import { runHooks } from "./hooks/runHooks.ts"
import { OWN_WORK } from "./hooks/watchdog.ts"
import { stopMachine } from "./stopMachine.ts"
import type { Care, Live, Outcome } from "./supervision.ts"

/** Makes sure that the VMM is gone, then: postStop hooks, release, final state. Whatever fails, the rest is done. */
export async function finish(
  run: Care,
  around: VmSurroundings,
  live: Live,
  failed: Failure | undefined,
): Promise<Outcome> {
  const { session, report, interrupts } = run
  let broken: Failure | undefined
  const attempt = async (work: () => unknown) => {
    try {
      await work()
    } catch (error) {
      const failure = isFailure(error) ? error : new Failure(reason(error), { cause: error })
      // The first is the run's own failure, and told as that.
      const first = failed ?? broken
      if (first !== undefined && first.message !== failure.message) report.error(failure.message)
      broken ??= failure
    }
  }
  await attempt(() => stopIfRunning(run, live))
  let exit = live.lost ?? neverStarted(reason(failed))
  const { machine } = live
  if (machine) {
    exit = { ...exit, reason: "crashed", requested: live.requested }
    await attempt(async () => {
      exit = await describeExit(run.vmm, machine, session.layout, live.requested)
    })
  }
  run.watchdog.noteEnd(exit)
  const onFailure = (error: unknown) => report.error(reason(error))
  await attempt(() => {
    const ledger = postStopLedger(session)
    const context = (signal: AbortSignal) => postStopContext(around, signal, exit, ledger.again())
    return runHooks(run, "postStop", (hooks, signal) => hooks.postStop?.(context(signal)), { onFailure, ledger })
  })
  let unreleased: Failure | undefined
  await attempt(() =>
    run.watchdog.guard("cleaning up", OWN_WORK.cleaning, async () => {
      unreleased = release(run)
      if (unreleased !== undefined) throw unreleased
    }),
  )
  const badEnd = endedWell(exit) ? undefined : new Failure(`the VM ended badly: ${exitText(exit)}`)
  const failure = () => interrupts.failure() ?? failed ?? broken ?? badEnd
  await attempt(() => {
    if (session.state === "running") session.enter("stopping")
    session.enter(failure() !== undefined || session.state !== "stopping" ? "failed" : "stopped", exit)
  })
  run.watchdog.release()
  return { exit, failure: failure(), kept: false, unreleased }
}

/** All is over and done but for a reader that is behind: it is waited for until the user, or the run's limit, says so. */
export async function showRest(run: Care, { machine, requested }: Live): Promise<void> {
  if (machine === undefined) return
  const { timeouts } = run.prepared.spec
  const limit = requested ? LAST_WORDS : timeouts.run
  const enough = limit === undefined ? [] : [AbortSignal.timeout(limit)]
  if (await machine.showRest(AbortSignal.any([run.interrupts.next(), ...enough]))) return
  run.report.warn(`the console was not shown to its end; banger logs ${run.session.id} has it`)
}

// --- internal ---

/** A reader has this long, in milliseconds, to take the rest of the console of a VM that was asked to end. */
const LAST_WORDS = 2000

/** Only a fault of ours (a full disk, say) leads here with a VM that runs. */
async function stopIfRunning(run: Care, live: Live): Promise<void> {
  if (live.machine === undefined || live.gone) return
  live.requested = true
  await stopMachine(live.machine, run.prepared.spec.timeouts.stop, run.interrupts.force, run.report)
}

function release({ session, report }: Care): Failure | undefined {
  const leftovers = releaseAll(session.journal, session.layout, report.warn)
  for (const leftover of leftovers) report.error(`not released: ${inOneLine(leftover)}`)
  if (leftovers.length === 0) return undefined
  return new Failure(`not everything of ${session.id} was released`, { hint: `to try again: banger rm ${session.id}` })
}
