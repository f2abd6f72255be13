import type { RunningContext } from "banger"
import { monotonicMs } from "../base/linux/clock.ts"
import { onceIdle } from "../base/linux/hold.ts"
import { asFailure, Failure, messageOf } from "../base/terms/failure.ts"
import { formatDuration } from "../base/terms/quantity.ts"
import type { DhcpServer } from "../host/dhcp/server.ts"
import { SIGKILL } from "../host/process/spawn.ts"
import { modulesKeepNothing } from "../inputs/plugin/imports.ts"
import type { Machine } from "../vm/machine.ts"
import { type StopRequest, takeStopRequest } from "../vm/stopRequest.ts"
import { runningContext } from "./hookContext.ts"
import type { PluginHost } from "./hooks/pluginHost.ts"
import { runHooks } from "./hooks/runHooks.ts"
import type { RunningVm } from "./runningVm.ts"
import { stopMachine } from "./stopMachine.ts"
import type { VmContext } from "./vmContext.ts"

/** How a running VM is watched. */
export interface WatchOptions {
  /** Whether a failed start is to be left as it is, for inspection. */
  readonly keepOnFailure?: boolean
  /** Whether the VM is to run on without a supervisor, once it has booted. */
  readonly leave?: boolean
  /** The VM is running, as this process; what this returns is called when it no longer runs. */
  readonly onRunning?: (pid: number) => () => void
  /** The VM is running, and its postBoot hooks are done. */
  readonly onBooted: () => void
  /**
   * Called once nothing that the plugin has left could run any more, and the plugin keeps nothing between its hooks: this
   * process may become one that only waits. When it has not, it calls `awake`.
   */
  readonly rest?: ((machine: Machine, how: RestOptions) => void) | undefined
  /** Of a VM whose postBoot hooks ran under another supervisor: when the run's time is up, by `monotonicMs`. */
  readonly taken?: { readonly until: number | undefined }
}

/** How a supervisor rests. */
export interface RestOptions {
  /** When the run's time is up, by `monotonicMs`. */
  readonly until: number | undefined
  /** Aborted when the VM's end has come, or is being brought about: from then on there is no rest. */
  readonly over: AbortSignal
  /** What answers its guest by DHCP. */
  readonly dhcp: DhcpServer | undefined
  awake(): void
}

/**
 * From running to the VMM's end: postBoot hooks (unless another supervisor ran them), then the wait, then a stop when one
 * is asked for. Throws, with the VMM gone, when the run has failed: a postBoot hook threw, or the run's time is up. Where a
 * failed start is to be kept, a failed postBoot hook leaves the VM running. Returns "left" when the VM is to run on without
 * a supervisor.
 */
export async function untilEnd(
  host: PluginHost,
  context: VmContext,
  running: RunningVm,
  options: WatchOptions,
): Promise<"left" | undefined> {
  const { machine } = running
  if (machine === undefined) return
  const stopShowing = options.onRunning?.(machine.child.identity.pid)
  try {
    const end = await whileRunning(host, context, running, { ...options, machine })
    if (end === "left") return end
    if (end === "ended") return void context.session.enter("stopping")
    if (end?.stage === "postBoot" && options.keepOnFailure === true && !host.interrupts.stop.aborted) throw end.error
    await stopRunning(host, context, running)
    if (end !== undefined) throw end.error
  } finally {
    stopShowing?.()
  }
}

/**
 * Stops a running VM: preStop hooks, Ctrl-Alt-Del, at last SIGKILL; or as `request` says, or what another banger has asked
 * for meanwhile. Returns with the VMM gone.
 */
export async function stopRunning(
  host: PluginHost,
  context: VmContext,
  running: RunningVm,
  { request }: { readonly request?: StopRequest | undefined } = {},
): Promise<void> {
  const { session, plugin, log } = context
  const { machine } = running
  if (machine === undefined) return
  const before = session.state
  if (before === "running") session.enter("stopping")
  running.requested = !running.gone
  // Only now: whoever asks from here on sees that the VM is stopping already.
  const asked = request ?? takeStopRequest(session.layout)
  if (asked?.action === "kill") {
    machine.child.signal(SIGKILL)
    await machine.gone
    return
  }
  // Where another supervisor was ended in a stop, the hooks may have run already.
  if (before === "running")
    await runHooks(host, context, "preStop", {
      call: (hooks, signal) => hooks.preStop?.(contextOf(running, { machine, session, signal })),
      onFailure: (error) => {
        log.error(messageOf(error))
        running.hookFailed ??= asFailure(error, "HOOK_FAILED")
      },
    })
  running.requested = !running.gone
  const limit = asked?.timeout ?? plugin.spec.timeouts.stop
  await host.trace.span("stop", () => stopMachine(machine, { limit, force: host.interrupts.force, log }))
}

// --- internal ---

type RunFailure = { stage: "postBoot" | "run"; error: Failure }
type End = "ended" | "left" | RunFailure

/**
 * Waits until the VM ends or someone asks it to. Returns "ended" (by itself), "left" (runs on unsupervised), a failure, or
 * undefined (a stop was requested).
 */
async function whileRunning(
  host: PluginHost,
  context: VmContext,
  running: RunningVm,
  { machine, leave, onBooted, rest, taken }: WatchOptions & { readonly machine: Machine },
): Promise<End | undefined> {
  const { interrupts } = host
  let ended: End | undefined
  const over = new AbortController()
  const end = (how: End) => {
    ended ??= how
    over.abort()
  }
  const { run: limit } = context.plugin.spec.timeouts
  const until = taken === undefined ? limit && monotonicMs() + limit : taken.until
  const stopClock = timeUp(context, until, end)
  machine.gone.then(() => end("ended"))
  machine.control.halted?.then(() => {
    context.log.info(
      "the guest has powered off, but its VMM still runs: ending it (a guest that reboots ends it itself)",
    )
    machine.child.signal(SIGKILL)
  })
  try {
    if (taken === undefined)
      await runHooks(host, context, "postBoot", {
        call: (hooks, signal) => hooks.postBoot?.(contextOf(running, { machine, session: context.session, signal })),
        until: over.signal,
      })
    if (!over.signal.aborted && !interrupts.stop.aborted) {
      onBooted()
      if (leave === true) end("left")
    }
    const keepAwake = onceIdle(() => {
      if (!modulesKeepNothing()) return
      // A thread that ends at the moment of execve(2) has been seen to crash; there all threads end anyway.
      if (rest === undefined) host.watchdog.dismiss()
      else rest(machine, { until, over: over.signal, dhcp: running.dhcp, awake: host.watchdog.dismiss })
    })
    await aborted(AbortSignal.any([over.signal, interrupts.stop])).finally(keepAwake)
  } catch (error) {
    if (ended === undefined && !interrupts.stop.aborted) return { stage: "postBoot", error: asFailure(error) }
  } finally {
    stopClock()
  }
  return ended
}

/** Its changes are there since its machine is. */
function contextOf(
  { hookContext, changes }: RunningVm,
  {
    machine,
    session,
    signal,
  }: Pick<VmContext, "session"> & { readonly machine: Machine; readonly signal: AbortSignal },
): RunningContext {
  if (changes === undefined) throw new Error("a VM that runs has no changes")
  return runningContext(hookContext, { control: machine.control, changes, session }, signal)
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }))
}

/** Ends the run when its time is up (`until`, by `monotonicMs`), until the function it returns is called. */
function timeUp({ session, plugin }: VmContext, until: number | undefined, end: (how: RunFailure) => void): () => void {
  const limit = plugin.spec.timeouts.run
  if (limit === undefined || until === undefined) return () => {}
  const error = new Failure("TIMED_OUT", `the VM still ran after ${formatDuration(limit)} (timeouts.run)`, {
    hint: "to give it more time: banger run --timeout, or timeouts.run in the plugin",
    subject: session.id,
  })
  const timer = setTimeout(() => end({ stage: "run", error }), Math.max(0, until - monotonicMs()))
  timer.unref()
  return () => clearTimeout(timer)
}
