import { Failure, isFailure, messageOf } from "../base/terms/failure.ts"
import { noteKept } from "../store/state/records.ts"
import { neverStarted } from "../vm/exit.ts"
import { connectNetwork, leaseNetwork } from "../vm/network.ts"
import { withNetwork } from "./boot/network.ts"
import { type Staged, stageVm } from "./boot/stage.ts"
import { startMachine } from "./boot/start.ts"
import { preBootContext, surroundings, type VmSurroundings, whileOpen } from "./contexts.ts"
import { finish, showRest } from "./finish.ts"
import { runHooks } from "./hooks/runHooks.ts"
import { OWN_WORK_MS } from "./hooks/watchdog.ts"
import type { Left, RunningVm, RunOutcome, Supervision } from "./supervision.ts"
import { untilEnd } from "./untilEnd.ts"

/**
 * Takes a VM from `creating` to its final state: stage, boot, wait, stop, clean up. However it goes, the postStop
 * hooks run once and everything acquired is released, unless a failed start is to be kept. Never throws because of a
 * hook, the guest or the VMM.
 */
export async function supervise(run: Supervision): Promise<RunOutcome | Left> {
  const live: RunningVm = { machine: undefined, gone: false, requested: false, dir: "", network: undefined }
  const around = surroundings(run, live)
  let failure: Failure | undefined
  try {
    const staged = await run.trace.span("stage", () => stage(run, around, live))
    await run.trace.span("boot", () => start(run, staged, live))
    run.session.enter("running")
    const left = await run.trace.span("run", () => untilEnd(run, around, live))
    if (left !== undefined) return leave(run)
  } catch (error) {
    failure = isFailure(error) ? error : new Failure("FAILED", messageOf(error), { cause: error })
  }
  const startFailed = failure !== undefined && run.session.state !== "stopping" && !run.interrupts.stop.aborted
  if (startFailed && run.keepOnFailure) {
    run.watchdog.release()
    return keep(run, failure)
  }
  const outcome = await run.trace.span("clean up", () => finish(run, around, live, failure))
  await showRest(run, live)
  return outcome
}

// --- internal ---

/** Stages what the spec names, and what preBoot hooks add. */
async function stage(run: Supervision, around: VmSurroundings, live: RunningVm): Promise<Staged> {
  const { session, prepared, vmm, program, confining, interrupts, watchdog } = run
  const { spec } = prepared
  session.enter("staging")
  const staging = { session, spec, vmm, program, confining, signal: interrupts.stop, restore: run.restore }
  const staged = await watchdog.guard("staging", OWN_WORK_MS.staging, () => stageVm(staging))
  try {
    if (spec.network !== false) live.network = leaseNetwork(session, spec.network)
    live.dir = staged.root.now
    const drives = [...spec.drives]
    await runHooks(run, "preBoot", (hooks, signal) =>
      whileOpen((over) => hooks.preBoot?.(preBootContext(around, signal, over, prepared, staged, drives))),
    )
    interrupts.stop.throwIfAborted()
    await watchdog.guard("staging", OWN_WORK_MS.staging, async () => {
      for (const drive of drives.slice(spec.drives.length)) await staged.add(drive)
    })
    live.dir = staged.root.path
    const ready = staged.finish()
    if (spec.network === false || live.network === undefined) return ready
    const { network } = spec
    await watchdog.guard("making the network", OWN_WORK_MS.staging, () =>
      connectNetwork(session, network, ready.boot.confinement, run.log, interrupts.stop),
    )
    const leased = { name: spec.name, spec: network, network: live.network, layout: session.layout }
    return { ...ready, boot: withNetwork(ready.boot, leased) }
  } finally {
    staged.close()
  }
}

async function start(run: Supervision, staged: Staged, live: RunningVm): Promise<void> {
  const { session, vmm, program, interrupts, onConsole, confining } = run
  const { timeouts, console } = run.prepared.spec
  session.enter("booting")
  const options = {
    vmm,
    program,
    consoleLimit: console.limit,
    limit: timeouts.start,
    interrupt: interrupts.stop,
    onConsole,
    log: run.log,
    cgroup: confining.cgroup,
  }
  const machine = await startMachine(session, staged, options)
  live.machine = machine
  run.watchdog.noteEnd("started")
  machine.gone.then(() => {
    live.gone = true
  })
}

/** From here on the VM belongs to `stop`, `rm` and `sweep`. */
function leave({ watchdog, session }: Supervision): Left {
  watchdog.release()
  session.unlock()
  return "left"
}

/** Leaves a failed start as it is. The record is final, and its journal still names what there is. */
function keep(run: Supervision, failure: Failure | undefined): RunOutcome {
  const exit = neverStarted(messageOf(failure))
  noteKept(run.session.db, run.session.id)
  run.session.enter("failed", exit)
  run.session.unlock()
  return { exit, failure, kept: true }
}
