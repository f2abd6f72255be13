import { asFailure, Failure, inOneLine, messageOf } from "../base/terms/failure.ts"
import { describeExit, endedWell, exitText, neverStarted } from "../vm/exit.ts"
import { releaseAll } from "../vm/release.ts"
import { unwantedEnd } from "./expectedEnd.ts"
import { postStopContext } from "./hookContext.ts"
import { postStopProgress } from "./hooks/hookProgress.ts"
import type { PluginHost } from "./hooks/pluginHost.ts"
import { runHooks } from "./hooks/runHooks.ts"
import { failureOfVerdict, heedProcess, type Verdict } from "./hooks/verdict.ts"
import { OWN_WORK_MS } from "./hooks/watchdog.ts"
import type { RunningVm } from "./runningVm.ts"
import { stopMachine } from "./stopMachine.ts"
import type { RunOutcome, VmContext } from "./vmContext.ts"

/**
 * Makes sure that the VMM is gone, then: postStop hooks, release, final state. Whatever fails, the rest is done. Never
 * throws: the outcome has the run's own failure (`failed`), or else the first of these.
 */
export async function finish(
  host: PluginHost,
  context: VmContext,
  running: RunningVm,
  { failed }: { readonly failed: Failure | undefined },
): Promise<RunOutcome> {
  const { session, log, vmm } = context
  session.makeRoom()
  let broken: Failure | undefined
  const attempt = async (work: () => unknown) => {
    try {
      await work()
    } catch (error) {
      const failure = asFailure(error)
      // The first is told as the run's own failure.
      const first = failed ?? broken
      if (first !== undefined && first.message !== failure.message) log.error(failure.message)
      broken ??= failure
    }
  }
  await attempt(() => stopIfRunning(host, context, running))
  // What is being copied into its jail would keep that from being released.
  await attempt(() => running.changes?.over())
  let exit = running.exitKnown ?? neverStarted(messageOf(failed))
  const { machine } = running
  if (machine) {
    exit = { ...exit, reason: "crashed", requested: running.requested }
    await attempt(async () => {
      exit = await describeExit(machine, { vmm, layout: session.layout, requested: running.requested })
    })
  }
  host.watchdog.noteEnd(exit)
  const verdict: Verdict = { reason: undefined, exitCode: exit.guestStatus }
  const onFailure = (error: unknown) => {
    // One that the run fails with is told as that.
    if ((failed ?? broken ?? running.hookFailed) !== undefined) log.error(messageOf(error))
    running.hookFailed ??= asFailure(error, "HOOK_FAILED")
  }
  await attempt(() => {
    const progress = postStopProgress(session)
    return runHooks(host, context, "postStop", {
      call: (hooks, signal) =>
        hooks.postStop?.(postStopContext(running.hookContext, signal, { exit, again: progress.again(), verdict })),
      onFailure,
      progress,
    })
  })
  let unreleased: Failure | undefined
  await attempt(() =>
    host.watchdog.allow("cleaning up", OWN_WORK_MS.cleaning, async () => {
      unreleased = release(context)
      if (unreleased !== undefined) throw unreleased
    }),
  )
  const badEnd = endedWell(exit)
    ? unwantedEnd(exit, context.plugin.spec, session)
    : new Failure("VM_FAILED", `the VM ended badly: ${exitText(exit)}`, {
        hint: `to see what its guest said last: banger logs ${session.id}`,
        subject: session.id,
      })
  heedProcess(verdict)
  const declared = failureOfVerdict(verdict, { id: session.id, exit })
  // On record, for whoever asks later.
  const { exitCode } = verdict
  if (exitCode !== undefined && exitCode !== exit.guestStatus) exit = { ...exit, guestStatus: exitCode }
  const failure = () => host.interrupts.failure() ?? failed ?? broken ?? badEnd ?? declared ?? running.hookFailed
  await attempt(() => {
    if (session.state === "running") session.enter("stopping")
    session.enter(failure() !== undefined || session.state !== "stopping" ? "failed" : "stopped", exit)
  })
  host.watchdog.release()
  return { exit, failure: failure(), kept: false, unreleased }
}

/** All is over and done but for a reader that is behind: waits for it until the user, or the run's limit, says so. */
export async function showRest(
  { interrupts }: PluginHost,
  { plugin, session, log }: VmContext,
  { machine, requested }: RunningVm,
): Promise<void> {
  if (machine === undefined) return
  const limit = requested ? LAST_WORDS_MS : plugin.spec.timeouts.run
  const enough = limit === undefined ? [] : [AbortSignal.timeout(limit)]
  if (await machine.showRest(AbortSignal.any([interrupts.next(), ...enough]))) return
  log.warn(`the console was not shown to its end; banger logs ${session.id} has it`)
}

// --- internal ---

/** A reader has this long, in milliseconds, to take the rest of the console of a VM that was asked to end. */
const LAST_WORDS_MS = 2000

/** Only a fault of ours (a full disk, say) leads here with a VM that runs. */
async function stopIfRunning(
  { interrupts }: PluginHost,
  { plugin, log }: VmContext,
  running: RunningVm,
): Promise<void> {
  if (running.machine === undefined || running.gone) return
  running.requested = true
  await stopMachine(running.machine, { limit: plugin.spec.timeouts.stop, force: interrupts.force, log })
}

function release({ session, log }: VmContext): Failure | undefined {
  const leftovers = releaseAll(session.journal, session.layout, log.warn)
  for (const leftover of leftovers) log.error(`not released: ${inOneLine(leftover)}`)
  if (leftovers.length === 0) return undefined
  return new Failure("NOT_RELEASED", `not everything of ${session.id} was released`, {
    hint: `to try again: banger rm ${session.id}`,
    subject: session.id,
  })
}
