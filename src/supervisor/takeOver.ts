import { Failure, joinFailures } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import { firecracker } from "../host/firecracker/firecracker.ts"
import { jailRoot } from "../host/jail/base.ts"
import { qemu } from "../host/qemu/qemu.ts"
import type { Vmm } from "../host/vmm/vmm.ts"
import type { Resource } from "../store/state/handles.ts"
import type { State } from "../store/state/open.ts"
import type { VmLayout } from "../store/state/places.ts"
import { type Recalled, recall, setAside } from "../store/state/recall.ts"
import { noteRestart, type VmRecord } from "../store/state/records.ts"
import { isFinal, type VmState } from "../store/state/vmState.ts"
import { lost, neverStarted } from "../vm/exit.ts"
import { openJournal } from "../vm/journal.ts"
import { livenessOf, livenessUnknown, type VmLiveness } from "../vm/liveness.ts"
import type { LockedVm } from "../vm/lockVmRecord.ts"
import type { Machine } from "../vm/machine.ts"
import { recallNetwork } from "../vm/network.ts"
import { KILL_WAIT_MS, releaseAll } from "../vm/release.ts"
import { requestOf } from "../vm/request.ts"
import { resumeSession, type Session } from "../vm/session.ts"
import type { StopRequest } from "../vm/stopRequest.ts"
import { adoptMachine } from "./adopt.ts"
import { surroundings } from "./contexts.ts"
import { finish } from "./finish.ts"
import type { PluginHost } from "./hooks/pluginHost.ts"
import { reloadPlugin } from "./reload.ts"
import type { RunningVm, RunOutcome, VmContext } from "./supervision.ts"
import { stopLive, untilEnd } from "./untilEnd.ts"

/** What is wanted of a VM whose supervisor is gone: to finish it if it is dead, to watch over it, or to stop it. */
export type TakeoverGoal = "recover" | { watch: Pick<VmContext, "onBooted"> } | { stop: StopRequest }

/** How taking over went: the VM runs on, had ended before, or has ended now. */
export type Taken = "alive" | "final" | RunOutcome

/** Whether a VM that has not ended came to run. */
export function hasRun(state: VmState): boolean {
  return state === "running" || state === "stopping"
}

/**
 * Goes on with a VM whose supervisor is gone, as its journal tells. Dead: postStop hooks, release, final state. Alive:
 * its handles are mended, and what is wished for is done. Throws a failure, with nothing changed, when it cannot be
 * told. The caller holds the VM's lock, and lets go of it.
 */
export async function takeOver(state: State, held: LockedVm, wish: TakeoverGoal, tools: PluginHost): Promise<Taken> {
  const { record, layout, lock } = held
  const recalled = recall(record, layout.handles)
  for (const trouble of recalled.troubles) tools.log.warn(`${record.name}: ${trouble}`)
  if (isFinal(record.state)) return releaseRest(state, held, recalled, tools.log)
  using truth = livenessOf(record, layout, recalled.journal)
  if (truth.is === "unknown") throw livenessUnknown(record, truth)
  // Of a dead one they are told when it is released.
  if (truth.is === "alive") for (const doubt of truth.warnings) tools.log.warn(`${record.name}: ${doubt}`)
  setAside(layout.handles)
  const session = resumeSession(state, layout, lock, record.state, recalled)
  // Before anything is done it is known that what is done can be written down.
  session.journal.mend()
  writeIdentity(session, truth)
  if (truth.is === "alive" && record.state === "running" && wish === "recover") return "alive"
  const prepared = await reloadPlugin(record, needsHooks(record, truth), tools.log)
  const dir = stageOf(layout, recalled.journal)
  const network = recallNetwork(session, prepared.spec.network)
  const live: RunningVm = { machine: undefined, gone: false, requested: false, dir, network }
  const care: VmContext = {
    ...tools,
    prepared,
    session,
    vmm: vmmOf(record),
    args: requestOf(record).args,
    keepOnFailure: false,
    leave: false,
    onRunning: () => () => {},
    onBooted: typeof wish === "object" && "watch" in wish ? wish.watch.onBooted : () => {},
  }
  // What fails here leaves a VM that runs as it is.
  live.machine = await machineOf(care, truth)
  live.machine?.gone.then(() => {
    live.gone = true
  })
  tools.watchdog.protect({ id: record.id, name: record.name, dir: layout.dir, json: false })
  const failed = await (live.machine === undefined ? settle(care, live, truth) : run(care, live, wish, record))
  return finish(care, surroundings(care, live), live, failed)
}

// --- internal ---

type Known = Exclude<VmLiveness, { is: "unknown" }>

/** Where only a generation from before its process was known is left, the VMM's identity is written down again. */
function writeIdentity({ state, journal }: Session, truth: Known): void {
  const entry = journal.resources.find((resource) => resource.kind === "process")
  if (truth.is === "alive" && hasRun(state) && entry?.identity === null)
    journal.refine({ kind: "process", identity: truth.identity })
}

/** The VM as it runs, if it came to do so before its supervisor was ended. */
async function machineOf(care: VmContext, truth: Known): Promise<Machine | undefined> {
  const { state, layout, journal } = care.session
  if (truth.is === "dead" || !hasRun(state)) return undefined
  const { process, identity } = truth
  const consoleLimit = care.prepared.spec.console.limit
  const machine = await adoptMachine({
    ...{ vmm: care.vmm, layout, resources: journal.resources, identity, consoleLimit, log: care.log },
    process: process.move(),
  })
  care.watchdog.noteEnd("started")
  return machine
}

/** What is known of the end of a VM that nobody watched. Returns why it has failed, when it never came to run. */
async function settle(care: VmContext, live: RunningVm, truth: Known): Promise<Failure | undefined> {
  const { session } = care
  if (truth.is === "alive") truth.process.kill(KILL_WAIT_MS)
  live.gone = true
  if (!hasRun(session.state)) {
    const why = `banger was ended while it started the VM (${session.state})`
    live.lost = neverStarted(why)
    return new Failure("FAILED", why)
  }
  live.requested = session.state === "stopping"
  live.lost = lost(session.layout, live.requested)
  if (session.state === "running") session.enter("stopping")
  return undefined
}

async function run(
  care: VmContext,
  live: RunningVm,
  wish: TakeoverGoal,
  record: VmRecord,
): Promise<Failure | undefined> {
  const { machine } = live
  if (machine === undefined) return undefined
  const around = surroundings(care, live)
  try {
    if (typeof wish === "object" && "watch" in wish && care.session.state === "running") {
      await untilEnd(care, around, live, { runningAt: record.running_at ?? record.created_at })
    } else
      await stopLive(care, around, live, machine, typeof wish === "object" && "stop" in wish ? wish.stop : undefined)
    return undefined
  } catch (error) {
    return error instanceof Failure ? error : new Failure("FAILED", String(error), { cause: error })
  }
}

/** A VM that has ended may hold what could not be released then. */
function releaseRest(state: State, { record, layout }: LockedVm, recalled: Recalled, log: Log): "final" {
  if (record.restart_at !== null) noteRestart(state.db, record.id, null)
  if (recalled.journal.length === 0 || record.kept === 1) return "final"
  const failures = releaseAll(openJournal(state.db, record.id, layout.handles, recalled), layout, log.warn)
  if (failures.length > 0) throw joinFailures(record.id, failures)
  return "final"
}

function needsHooks(record: VmRecord, truth: VmLiveness): boolean {
  const { postStop } = requestOf(record)
  return truth.is === "alive" || postStop === undefined || postStop > record.post_stop_done
}

function stageOf(layout: VmLayout, resources: readonly Resource[]): string {
  const jail = resources.find((resource) => resource.kind === "jail")
  return jail === undefined ? layout.stage : jailRoot({ base: layout.jails, vmm: jail.vmm, id: layout.id })
}

function vmmOf({ vmm, id }: VmRecord): Vmm {
  if (vmm === "qemu") return qemu
  if (vmm === "firecracker") return firecracker
  throw new Failure("FAILED", `${id} runs on ${vmm}, which this banger does not know`, {
    hint: "use the version that started it",
  })
}
