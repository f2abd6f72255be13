import { monotonicMs } from "../base/linux/clock.ts"
import { asFailure, Failure } from "../base/terms/failure.ts"
import { listed } from "../base/terms/printable.ts"
import type { DhcpServer } from "../host/dhcp/server.ts"
import { firecracker } from "../host/firecracker/firecracker.ts"
import { jailRoot } from "../host/jail/base.ts"
import { type ExitStatus, exitStatusOfZombie } from "../host/process/exitStatus.ts"
import { ranMs } from "../host/process/identity.ts"
import { qemu } from "../host/qemu/qemu.ts"
import type { Vmm } from "../host/vmm/vmm.ts"
import type { ResolvedPlugin } from "../inputs/plugin/resolved.ts"
import { removeAbandoned } from "../store/files/replaceFile.ts"
import { describeKept } from "../store/kept/thing.ts"
import type { Sink } from "../store/logs/growing.ts"
import type { Resource } from "../store/state/handles.ts"
import { noteRestart } from "../store/state/notes.ts"
import type { State } from "../store/state/open.ts"
import type { VmLayout } from "../store/state/places.ts"
import { type Recalled, recall, setAside } from "../store/state/recall.ts"
import type { VmRecord } from "../store/state/records.ts"
import { isFinal, type VmState } from "../store/state/vmState.ts"
import { exitOfStatus, lost, neverStarted } from "../vm/exit.ts"
import { entryOf, openJournal } from "../vm/journal.ts"
import { livenessOf, livenessUnknown, type VmLiveness } from "../vm/liveness.ts"
import type { LockedVm } from "../vm/lockVmRecord.ts"
import type { Machine } from "../vm/machine.ts"
import { recallNetwork } from "../vm/network.ts"
import { KILL_WAIT_MS, releaseOrThrow } from "../vm/release.ts"
import { noteService, requestOf } from "../vm/request.ts"
import { resumeSession, type Session } from "../vm/session.ts"
import type { StopRequest } from "../vm/stopRequest.ts"
import { type Adoption, adoptMachine } from "./adopt.ts"
import { answerGuest, toldNameServers } from "./boot/network.ts"
import { settleLate } from "./changes/settle.ts"
import { finish, showRest } from "./finish.ts"
import { stateTeller } from "./hooks/ownService.ts"
import type { PluginHost } from "./hooks/pluginHost.ts"
import { keptOn } from "./keep/keepThing.ts"
import { reloadPlugin } from "./reload.ts"
import { type RunningVm, runningVm } from "./runningVm.ts"
import { stopRunning, untilEnd } from "./untilEnd.ts"
import type { RunOutcome, VmContext } from "./vmContext.ts"

/** What is to become of a VM whose supervisor is gone. A dead one is finished whatever the goal is. */
export type TakeoverGoal =
  /** Nothing, if it runs: then its handles are mended. */
  | { readonly do: "recover" }
  /** To be watched to its end; `onReady` is called when this process has it. `document`: its end is printed as JSON. */
  | {
      readonly do: "supervise"
      readonly onReady: () => void
      readonly document: boolean
      /** Gets what the guest says from now on. */
      readonly onConsole?: Sink | undefined
      /** The VM is running, as this process; what this returns is called when it no longer runs. */
      readonly onRunning?: ((pid: number) => () => void) | undefined
      /** Its plugin, where this process has loaded it already. */
      readonly plugin?: ResolvedPlugin | undefined
      /** This process has been its supervisor all along, and only rested. */
      readonly rested?: boolean | undefined
      /** When the run's time is up, by `monotonicMs`, where this process knows. */
      readonly until?: number | undefined
      /** How its VMM has exited, where this process, which was its parent, knows. */
      readonly exited?: ExitStatus | undefined
      /** The reason that its VMM has given for shutting down, where this process has heard it. */
      readonly announced?: string | undefined
    }
  | { readonly do: "stop"; readonly request: StopRequest }

/** How taking over went: the VM runs on, or has ended. `outcome` is undefined when it had ended before. */
export type Taken =
  | { readonly is: "running" }
  | { readonly is: "ended"; readonly outcome: undefined }
  | { readonly is: "ended"; readonly outcome: RunOutcome; readonly session: Session }

/** Whether a VM that has not ended came to run. */
export function hasRun(state: VmState): boolean {
  return state === "running" || state === "stopping"
}

/**
 * Takes over a VM whose supervisor is gone, as its journal tells. Dead: postStop hooks, release, final state. Alive: its
 * handles are mended, and the goal is pursued. Throws a failure, with nothing changed, when it cannot be told whether it
 * runs; and one of what could not be released, but under supervision, where the outcome's own failure says so. The caller
 * has locked the VM, and unlocks it.
 */
export async function takeOver(
  host: PluginHost,
  state: State,
  { locked, goal }: { readonly locked: LockedVm; readonly goal: TakeoverGoal },
): Promise<Taken> {
  const { record, layout } = locked
  const recalled = recall(record, layout.handles)
  for (const trouble of recalled.troubles) host.log.warn(trouble)
  if (isFinal(record.state)) return releaseRest(state, locked, recalled, { log: host.log })
  using liveness = livenessOf(record, layout, recalled.journal)
  if (liveness.is === "unknown") throw livenessUnknown(record, liveness)
  // Those of a dead one are told when it is released.
  if (liveness.is === "alive") for (const warning of liveness.warnings) host.log.warn(warning)
  setAside(layout.handles)
  removeAbandoned(layout.dir)
  const session = resumeSession(state, locked, { journal: recalled, onState: stateTeller(host.service, record) })
  // A disk that cannot be written shows here, before anything is done; but its own supervisor must stop a VM on a full one.
  if (!(goal.do === "supervise" && goal.rested === true && recalled.whole)) session.journal.mend()
  // Of a dead one it stays as it was: whoever starts it again goes by who had it.
  if (goal.do === "supervise" && liveness.is === "alive") noteService(state, record, host.service !== undefined)
  writeIdentity(session, liveness)
  if (liveness.is === "alive" && hasRun(record.state))
    await settleLate(session, vmmOf(record), { identity: liveness.identity, log: host.log })
  if (liveness.is === "alive" && record.state === "running" && goal.do === "recover") return { is: "running" }
  const loaded = goal.do === "supervise" ? goal.plugin : undefined
  const plugin = loaded ?? (await reloadPlugin(host, record, needsHooks(record, liveness)))
  if (plugin.loaded.hooks.length === 0 && needsHooks(record, liveness)) nameKept(session, host)
  const context: VmContext = { session, plugin, args: requestOf(record).args, vmm: vmmOf(record), log: host.log }
  const running = runningVm(context, {
    dir: stageOf(layout, recalled.journal),
    network: recallNetwork(session, plugin.spec.network),
  })
  // A failure in here leaves a VM that runs as it is.
  const heard: Heard = goal.do === "supervise" ? { exited: goal.exited, announced: goal.announced } : {}
  const onConsole = goal.do === "supervise" ? goal.onConsole : undefined
  const machine = await adoptLiving(host, context, { liveness, announced: heard.announced, onConsole })
  if (machine !== undefined && goal.do === "supervise") running.dhcp = await answerAgain(context, running)
  if (machine !== undefined) running.started(machine)
  const document = goal.do === "supervise" && goal.document
  host.watchdog.protect({ id: record.id, name: record.name, dir: layout.dir, document })
  const failed =
    machine === undefined
      ? await settle(context, running, { liveness, ...heard })
      : await pursue(host, context, running, { goal, liveness })
  const outcome = await finish(host, context, running, { failed })
  if (goal.do === "supervise" && goal.onConsole !== undefined) await showRest(host, context, running)
  // Nobody else tells what the run has failed with.
  if (goal.do !== "supervise" && running.hookFailed !== undefined && outcome.failure === running.hookFailed)
    host.log.error(running.hookFailed.message)
  if (outcome.unreleased !== undefined && goal.do !== "supervise") throw outcome.unreleased
  return { is: "ended", outcome, session }
}

// --- internal ---

type Known = Exclude<VmLiveness, { is: "unknown" }>

/** What this process knows of the VMM's end, when it has rested. */
type Heard = Pick<Extract<TakeoverGoal, { do: "supervise" }>, "exited" | "announced">

/** Where only a generation from before its process was known is left, the VMM's identity is written down again. */
function writeIdentity({ state, journal }: Session, liveness: Known): void {
  const entry = entryOf(journal.resources, "process")
  if (liveness.is === "alive" && hasRun(state) && entry?.identity === null)
    journal.refine({ kind: "process", identity: liveness.identity })
}

/** The VM as it runs, if it came to run before its supervisor was ended. */
async function adoptLiving(
  host: PluginHost,
  context: VmContext,
  { liveness, ...heard }: { readonly liveness: Known } & Pick<Adoption, "announced" | "onConsole">,
): Promise<Machine | undefined> {
  const { session, plugin, vmm, log } = context
  const { state, layout, journal } = session
  if (liveness.is === "dead" || !hasRun(state)) return undefined
  const { identity } = liveness
  const consoleLimit = plugin.spec.console.limit
  const machine = await adoptMachine({
    ...{ vmm, layout, resources: journal.resources, identity, consoleLimit, ...heard, log },
    notesShown: host.service !== undefined,
    process: liveness.process.move(),
  })
  host.watchdog.noteEnd("started")
  return machine
}

/** Its supervisor was what answered its guest. */
async function answerAgain(
  { session, plugin, log }: VmContext,
  { network }: RunningVm,
): Promise<DhcpServer | undefined> {
  const { spec } = plugin
  if (session.state !== "running" || spec.network === false || network === undefined) return undefined
  const { dns } = toldNameServers(spec.network)
  return await answerGuest({ name: spec.name, spec: spec.network, network, layout: session.layout, dns }, log)
}

/** What is known of the end of a VM that nobody watched. Returns why it has failed, when it never came to run. */
async function settle(
  { session, vmm }: VmContext,
  running: RunningVm,
  { liveness, exited, announced }: Heard & { readonly liveness: Known },
): Promise<Failure | undefined> {
  if (liveness.is === "alive") liveness.process.kill(KILL_WAIT_MS)
  running.gone = true
  if (!hasRun(session.state)) {
    const why = `banger was ended while it started the VM (${session.state})`
    running.exitKnown = neverStarted(why)
    return new Failure("START_FAILED", why, { subject: session.id })
  }
  running.requested = session.state === "stopping"
  const { layout, journal } = session
  const { requested } = running
  // It may have exited while the supervisor that had rested, its parent, woke.
  const identity = entryOf(journal.resources, "process")?.identity
  const status = exited ?? (identity ? exitStatusOfZombie(identity) : undefined)
  running.exitKnown =
    status === undefined ? lost(layout, requested) : exitOfStatus({ ...status, announced }, { vmm, layout, requested })
  if (session.state === "running") session.enter("stopping")
  return undefined
}

/** To the VMM's end. Returns why the run has failed, if it has. */
async function pursue(
  host: PluginHost,
  context: VmContext,
  running: RunningVm,
  { goal, liveness }: { readonly goal: TakeoverGoal; readonly liveness: Known },
): Promise<Failure | undefined> {
  try {
    // A VM whose stop was cut short is stopped, even for whoever wants to watch it.
    if (goal.do === "supervise" && context.session.state === "running")
      await untilEnd(host, context, running, {
        onBooted: goal.onReady,
        ...(goal.onRunning !== undefined && { onRunning: goal.onRunning }),
        taken: { until: goal.until ?? timeUpOf(context, liveness) },
      })
    else await stopRunning(host, context, running, { request: goal.do === "stop" ? goal.request : undefined })
    return undefined
  } catch (error) {
    return asFailure(error)
  }
}

/**
 * When a run's time is up whose supervisor is gone: by its VMM's start, a moment before it came to run, since the host's clock may
 * have been set meanwhile.
 */
function timeUpOf({ plugin }: VmContext, liveness: Known): number | undefined {
  const limit = plugin.spec.timeouts.run
  if (limit === undefined || liveness.is === "dead") return undefined
  return monotonicMs() + limit - ranMs(liveness.identity.startTime)
}

/** A VM that has ended may hold what could not be released then. */
function releaseRest(
  state: State,
  { record, layout }: LockedVm,
  recalled: Recalled,
  { log }: Pick<PluginHost, "log">,
): Taken {
  const ended = { is: "ended", outcome: undefined } as const
  if (record.restart_at !== null) noteRestart(state.db, record.id, null)
  if (recalled.journal.length === 0 || record.keptForInspection) return ended
  releaseOrThrow(openJournal(state.db, layout, recalled), layout, log.warn)
  return ended
}

/** A plugin that has changed gives nothing back itself. */
function nameKept({ journal }: Session, { log }: Pick<PluginHost, "log">): void {
  const kept = keptOn(journal.resources).map(({ thing }) => describeKept(thing))
  if (kept.length > 0) log.warn(`what its plugin keeps for it is given back without the plugin: ${listed(kept)}`)
}

function needsHooks(record: VmRecord, liveness: VmLiveness): boolean {
  const { postStop } = requestOf(record)
  return liveness.is === "alive" || postStop === undefined || postStop > record.post_stop_done
}

function stageOf(layout: VmLayout, resources: readonly Resource[]): string {
  const jail = entryOf(resources, "jail")
  return jail === undefined ? layout.stage : jailRoot({ base: layout.jails, vmm: jail.vmm, id: layout.id })
}

function vmmOf({ vmm, id }: VmRecord): Vmm {
  if (vmm === "qemu") return qemu
  if (vmm === "firecracker") return firecracker
  const hint = "use the version that started it"
  throw new Failure("BAD_STATE", `${id} runs on ${vmm}, which this banger does not know`, { hint, subject: id })
}
