import { Failure, isFailure, messageOf } from "../base/terms/failure.ts"
import { formatDuration } from "../base/terms/quantity.ts"
import { SIGKILL } from "../host/process/spawn.ts"
import type { Machine } from "../vm/machine.ts"
import { type StopRequest, takeStopRequest } from "../vm/stopRequest.ts"
import { runningContext, type VmSurroundings } from "./contexts.ts"
import { runHooks } from "./hooks/runHooks.ts"
import { stopMachine } from "./stopMachine.ts"
import type { RunningVm, VmContext } from "./supervision.ts"

/**
 * From running to the VMM's end: postBoot hooks (unless the VM was `booted` before), then the wait, then a stop when one
 * is asked for. Throws, with the VMM gone, when the run has failed: a postBoot hook threw or its time was up. Where a
 * failed start is to be kept, a failed postBoot hook leaves the VM running. Returns "left" when the VM is to run on
 * without a supervisor.
 */
export async function untilEnd(
  run: VmContext,
  around: VmSurroundings,
  live: RunningVm,
  booted?: { readonly runningAt: number },
): Promise<"left" | undefined> {
  const { machine } = live
  if (machine === undefined) return
  const stopShowing = run.onRunning(machine.child.identity.pid)
  try {
    const failure = await whileRunning(run, around, machine, booted)
    if (failure === "left") return failure
    if (failure === "ended") return void run.session.enter("stopping")
    if (failure?.stage === "postBoot" && run.keepOnFailure && !run.interrupts.stop.aborted) throw failure.error
    await stopLive(run, around, live, machine)
    if (failure !== undefined) throw failure.error
  } finally {
    stopShowing()
  }
}

/** Stops a running VM: preStop hooks, Ctrl-Alt-Del, at last SIGKILL; or as whoever asked for it wants it. */
export async function stopLive(
  run: VmContext,
  around: VmSurroundings,
  live: RunningVm,
  machine: Machine,
  wanted?: StopRequest,
): Promise<void> {
  const before = run.session.state
  if (before === "running") run.session.enter("stopping")
  live.requested = !live.gone
  // Whoever asks now sees that it is stopping already.
  const asked = wanted ?? takeStopRequest(run.session.layout)
  if (asked?.action === "kill") {
    machine.child.signal(SIGKILL)
    await machine.gone
    return
  }
  const onFailure = (error: unknown) => run.log.error(messageOf(error))
  // Of a stop that was cut short the hooks may have run already.
  if (before === "running")
    await runHooks(
      run,
      "preStop",
      (hooks, signal) => hooks.preStop?.(runningContext(around, signal, machine.control)),
      { onFailure },
    )
  live.requested = !live.gone
  const limit = asked?.timeout ?? run.prepared.spec.timeouts.stop
  await run.trace.span("stop", () => stopMachine(machine, limit, run.interrupts.force, run.log))
}

// --- internal ---

type RunFailure = { stage: "postBoot" | "run"; error: Failure }
type End = "ended" | "left" | RunFailure

/** `"ended"`: the VM ended by itself; undefined: the user asked it to. */
async function whileRunning(
  run: VmContext,
  around: VmSurroundings,
  machine: Machine,
  booted: { readonly runningAt: number } | undefined,
): Promise<End | undefined> {
  const { interrupts } = run
  let ended: End | undefined
  const over = new AbortController()
  const end = (how: End) => {
    ended ??= how
    over.abort()
  }
  const ran = booted === undefined ? 0 : Date.now() - booted.runningAt
  const stopClock = timeUp(run.prepared.spec.timeouts.run, ran, end)
  machine.gone.then(() => end("ended"))
  machine.control.halted?.then(() => {
    run.log.info("the guest has powered off and its VMM goes on: ending it (a guest that reboots ends it by itself)")
    machine.child.signal(SIGKILL)
  })
  try {
    if (booted === undefined)
      await runHooks(
        run,
        "postBoot",
        (hooks, signal) => hooks.postBoot?.(runningContext(around, signal, machine.control)),
        {
          until: over.signal,
        },
      )
    if (!over.signal.aborted && !interrupts.stop.aborted) {
      run.onBooted()
      if (run.leave) end("left")
    }
    await aborted(AbortSignal.any([over.signal, interrupts.stop]))
  } catch (error) {
    if (ended === undefined && !interrupts.stop.aborted)
      return {
        stage: "postBoot",
        error: isFailure(error) ? error : new Failure("FAILED", messageOf(error), { cause: error }),
      }
  } finally {
    stopClock()
  }
  return ended
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }))
}

/** Ends the run when its time is up, until the function it returns is called. */
function timeUp(limit: number | undefined, ran: number, end: (how: RunFailure) => void): () => void {
  if (limit === undefined) return () => {}
  const error = new Failure("FAILED", `the VM still ran after ${formatDuration(limit)} (timeouts.run)`)
  const timer = setTimeout(() => end({ stage: "run", error }), Math.max(0, limit - ran))
  return () => clearTimeout(timer)
}
