import { SIGKILL } from "../process/spawn.ts"
import { Failure, isFailure, reason } from "../terms/failure.ts"
import { formatDuration } from "../terms/quantity.ts"
import { runningContext, type VmSurroundings } from "./contexts.ts"
import type { Machine } from "./machine.ts"
import { runHooks } from "./runHooks.ts"
import { stopMachine } from "./stop.ts"
import type { Supervision } from "./supervise.ts"

/** What is alive of a run. */
export interface Live {
  machine: Machine | undefined
  /** Whether its VMM has gone. */
  gone: boolean
  /** Whether banger asked the VM to end. */
  requested: boolean
  /** Where what was staged is now, as hooks see it. */
  dir: string
}

/**
 * From running to the VMM's end: postBoot hooks, then the wait, then a stop when one is asked for. Throws, with the
 * VMM gone, when the run has failed: a postBoot hook threw or its time was up. Where a failed start is to be kept, a
 * failed postBoot hook leaves the VM running.
 */
export async function untilEnd(run: Supervision, around: VmSurroundings, live: Live): Promise<void> {
  const { machine } = live
  if (machine === undefined) return
  const stopShowing = run.onRunning()
  try {
    const failure = await whileRunning(run, around, machine)
    if (failure === "ended") return run.session.enter("stopping")
    if (failure?.stage === "postBoot" && run.keepOnFailure && !run.interrupts.stop.aborted) throw failure.error
    await stop(run, around, live, machine)
    if (failure !== undefined) throw failure.error
  } finally {
    stopShowing()
  }
}

// --- internal ---

type RunFailure = { stage: "postBoot" | "run"; error: Failure }

/** `"ended"`: the VM ended by itself; undefined: the user asked it to. */
async function whileRunning(
  run: Supervision,
  around: VmSurroundings,
  machine: Machine,
): Promise<"ended" | RunFailure | undefined> {
  const { interrupts } = run
  let ended: "ended" | RunFailure | undefined
  const over = new AbortController()
  const end = (how: "ended" | RunFailure) => {
    ended ??= how
    over.abort()
  }
  const stopClock = timeUp(run.prepared.spec.timeouts.run, end)
  machine.gone.then(() => end("ended"))
  machine.control.halted?.then(() => {
    run.report.info("the guest has powered off and its VMM goes on: ending it (a guest that reboots ends it by itself)")
    machine.child.signal(SIGKILL)
  })
  try {
    await runHooks(run, "postBoot", (hooks, signal) => hooks.postBoot?.(runningContext(around, signal)), {
      until: over.signal,
    })
    await aborted(AbortSignal.any([over.signal, interrupts.stop]))
  } catch (error) {
    if (ended === undefined && !interrupts.stop.aborted)
      return { stage: "postBoot", error: isFailure(error) ? error : new Failure(reason(error), { cause: error }) }
  } finally {
    stopClock()
  }
  return ended
}

async function stop(run: Supervision, around: VmSurroundings, live: Live, machine: Machine): Promise<void> {
  run.session.enter("stopping")
  const onFailure = (error: unknown) => run.report.error(reason(error))
  await runHooks(run, "preStop", (hooks, signal) => hooks.preStop?.(runningContext(around, signal)), { onFailure })
  live.requested = !live.gone
  await run.trace.span("stop", () =>
    stopMachine(machine, run.prepared.spec.timeouts.stop, run.interrupts.force, run.report),
  )
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }))
}

/** Ends the run when its time is up, until the function it returns is called. */
function timeUp(limit: number | undefined, end: (how: RunFailure) => void): () => void {
  if (limit === undefined) return () => {}
  const error = new Failure(`the VM still ran after ${formatDuration(limit)} (timeouts.run)`)
  const timer = setTimeout(() => end({ stage: "run", error }), limit)
  return () => clearTimeout(timer)
}
