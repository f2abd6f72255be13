import { asFailure, type Failure, messageOf } from "../base/terms/failure.ts"
import { requireCommandLine } from "../host/vmm/commandLine.ts"
import type { Program } from "../host/vmm/vmm.ts"
import type { Sink } from "../store/logs/growing.ts"
import { noteKept } from "../store/state/notes.ts"
import { noteRestored } from "../store/state/restores.ts"
import { neverStarted } from "../vm/exit.ts"
import { connectNetwork, leaseNetwork } from "../vm/network.ts"
import type { ConfinementPlan } from "./boot/confinement.ts"
import { answerGuest, toldMtu, toldNameServers, withNetwork } from "./boot/network.ts"
import { type Staged, stageVm } from "./boot/stage.ts"
import { startMachine } from "./boot/start.ts"
import { finish, showRest } from "./finish.ts"
import { preBootContext, whileOpen } from "./hookContext.ts"
import { inOrder } from "./hooks/callHook.ts"
import type { PluginHost } from "./hooks/pluginHost.ts"
import { runHooks } from "./hooks/runHooks.ts"
import { OWN_WORK_MS } from "./hooks/watchdog.ts"
import { type RunningVm, runningVm } from "./runningVm.ts"
import { untilEnd, type WatchOptions } from "./untilEnd.ts"
import type { RunOutcome, VmContext } from "./vmContext.ts"

// This room watches one VM to its end, from its boot or from where another supervisor died; from whatever happens to it,
// the VM comes to a final state with nothing left on the host.

/** How a VM is booted. */
export interface BootOptions extends WatchOptions {
  readonly program: Program
  readonly confinement: ConfinementPlan
  /** The directory of a snapshot to restore, instead of booting. */
  readonly restore: string | undefined
  readonly onConsole: Sink
  /** Resolves when this process is out of the cgroup of what started it, where it is to leave that. */
  readonly apart?: Promise<unknown> | undefined
}

/**
 * Takes a VM from `creating` to its final state: stage, boot, wait, stop, clean up. However it goes, the postStop
 * hooks run once and everything acquired is released, unless a failed start is to be kept. Returns "left" when the VM runs
 * on without a supervisor, as it was asked to. Never throws because of a hook, the guest or the VMM.
 */
export async function supervise(
  host: PluginHost,
  context: VmContext,
  options: BootOptions,
): Promise<RunOutcome | "left"> {
  const { trace, interrupts, watchdog } = host
  const { session } = context
  const running = runningVm(context)
  let failure: Failure | undefined
  try {
    const staged = await trace.span("stage", () => stage(host, context, running, options))
    await trace.span("boot", () => start(host, context, running, { ...options, staged }))
    session.enter("running")
    const left = await trace.span("run", () => untilEnd(host, context, running, options))
    if (left !== undefined) {
      await running.changes?.over()
      // From here on the VM belongs to `stop`, `rm` and `sweep`.
      watchdog.release()
      session.unlock()
      return left
    }
  } catch (error) {
    failure = asFailure(error)
    running.dhcp?.close()
  }
  const startFailed = failure !== undefined && session.state !== "stopping" && !interrupts.stop.aborted
  if (startFailed && options.keepOnFailure === true) {
    watchdog.release()
    return keep(context, failure)
  }
  const outcome = await trace.span("clean up", () => finish(host, context, running, { failed: failure }))
  await showRest(host, context, running)
  return outcome
}

// --- internal ---

/** Stages what the spec names, and what preBoot hooks add. */
async function stage(
  host: PluginHost,
  context: VmContext,
  running: RunningVm,
  { program, confinement, restore, apart }: BootOptions,
): Promise<Staged> {
  const { session, plugin, vmm, log } = context
  const { interrupts, watchdog } = host
  const { spec, loaded } = plugin
  session.enter("staging")
  const staging = { session, spec, vmm, program, confinement, signal: interrupts.stop, restore, log }
  const staged = await watchdog.allow("staging", OWN_WORK_MS.staging, () => stageVm(staging))
  try {
    if (spec.network !== false) running.network = leaseNetwork(session, spec.network)
    running.dir = staged.root.now
    const drives = [...spec.drives]
    const adding = { session, spec, pluginPath: loaded.source.path, root: staged.root, drives }
    // What is started now stays where this process is.
    if (confinement.cgroup === undefined || inOrder(loaded, "preBoot").length > 0) await apart
    await runHooks(host, context, "preBoot", {
      call: (hooks, signal) =>
        whileOpen((over) => hooks.preBoot?.(preBootContext(running.hookContext, signal, { ...adding, over }))),
    })
    interrupts.stop.throwIfAborted()
    await watchdog.allow("staging", OWN_WORK_MS.staging, async () => {
      for (const drive of drives.slice(spec.drives.length)) await staged.add(drive)
    })
    running.dir = staged.root.path
    const ready = staged.finish()
    if (spec.network === false || running.network === undefined) return checked(context, ready)
    const { network } = spec
    const carries = await watchdog.allow("making the network", OWN_WORK_MS.staging, () =>
      connectNetwork(session, network, { user: ready.boot.confinement, log, interrupt: interrupts.stop }),
    )
    const { mtu, warning } = toldMtu(carries, { vmm, program })
    const { dns, warning: nameless } = toldNameServers(network)
    for (const said of [warning, nameless]) if (said !== undefined) log.warn(said)
    const leased = { name: spec.name, spec: network, network: running.network, layout: session.layout, mtu, dns }
    running.dhcp = await answerGuest(leased, log)
    return checked(context, { ...ready, boot: withNetwork(ready.boot, leased) })
  } finally {
    staged.close()
  }
}

/** Hooks may have added drives, and the address that it got may be longer than the first. */
function checked({ plugin, vmm }: VmContext, staged: Staged): Staged {
  requireCommandLine(plugin.spec, { vmm, boot: staged.boot })
  return staged
}

async function start(
  { interrupts, trace, watchdog, service }: PluginHost,
  { session, plugin, vmm, log }: VmContext,
  running: RunningVm,
  { program, staged, onConsole, confinement }: BootOptions & { readonly staged: Staged },
): Promise<void> {
  const { timeouts, console } = plugin.spec
  session.enter("booting")
  const options = {
    vmm,
    program,
    consoleLimit: console.limit,
    limit: timeouts.start,
    interrupt: interrupts.stop,
    onConsole,
    notesShown: service !== undefined,
    log,
    trace,
    cgroup: confinement.cgroup,
    beforeResume: () => noteRestored(session.db, session.id),
  }
  running.started(await startMachine(session, staged, options))
  watchdog.noteEnd("started")
}

/** Leaves a failed start as it is. The record is final, and its journal still names what there is. */
function keep({ session }: VmContext, failure: Failure | undefined): RunOutcome {
  const exit = neverStarted(messageOf(failure))
  noteKept(session.db, session.id)
  session.enter("failed", exit)
  session.unlock()
  return { exit, failure, kept: true }
}
