import { jailRoot } from "../jail/base.ts"
import type { HookName } from "../plugin/definition.ts"
import { inOrder } from "../plugin/hooks.ts"
import { loadedFiles } from "../plugin/imports.ts"
import { trustOf } from "../plugin/trust.ts"
import { cgroupPath } from "../process/cgroup.ts"
import { renameFile } from "../state/atomic.ts"
import type { VmLayout } from "../state/places.ts"
import { NameTaken, noteRestart } from "../state/records.ts"
import { UID_RANGE } from "../state/uids.ts"
import { Failure, reason, usage } from "../terms/failure.ts"
import { formatDuration } from "../terms/quantity.ts"
import { type Follower, follow, type Sink } from "../vmm/console.ts"
import type { Program, Vmm } from "../vmm/vmm.ts"
import { type Chosen, findCandidates } from "./chooseVmm.ts"
import { type Confining, confining, ownerOf } from "./confinement.ts"
import { containPlugin } from "./containment.ts"
import { exitText } from "./exit.ts"
import { forgetOldest } from "./history.ts"
import { watchInterrupts } from "./interrupts.ts"
import { VMM_LOG_LIMIT } from "./machine.ts"
import { inJail, planBoot, planSteps } from "./plan.ts"
import { type Overrides, type Prepared, prepare } from "./prepare.ts"
import { prefixed, type Report } from "./report.ts"
import { restartPolicy } from "./restartPolicy.ts"
import type { Ended } from "./result.ts"
import type { HookRunner } from "./runHooks.ts"
import { createSession, layoutFor, openState, type Session, type State, type VmRequest } from "./session.ts"
import { checkSnapshot } from "./snapshotDirectory.ts"
import { findDrive } from "./stageVm.ts"
import { type Outcome, supervise } from "./supervise.ts"
import { connectTerminal } from "./terminal.ts"
import { requireTraceFile, startTrace, type Trace } from "./trace.ts"
import { startWatchdog } from "./watchdog.ts"

/** What the user asked `banger run` for. */
export interface RunRequest extends Overrides {
  readonly plugin: string
  readonly args: readonly string[]
  readonly plan: boolean
  readonly keepOnFailure: boolean
  /** The directory of a snapshot to go on from, instead of booting. */
  readonly restore: string | undefined
  /** Limit for the whole run in milliseconds, over the plugin's own. */
  readonly timeout: number | undefined
  /** Where to write a Chrome trace. */
  readonly trace: string | undefined
  readonly report: Report
  /** Gets the serial console; undefined keeps it in console.log only. */
  readonly onConsole: Sink | undefined
  /** What becomes of the VM's supervisor: this process to the end, with a terminal or without, or none. */
  readonly supervisor: "foreground" | "detached" | "none"
  /** The file that this process's messages go to, when it has no terminal; it becomes the VM's. */
  readonly log: string | undefined
  /** The first VM is running, and its postBoot hooks are done. */
  readonly onBooted: (vm: Booted) => void
}

/** A VM that is running. */
export interface Booted {
  readonly id: string
  readonly name: string
  readonly vmm: string
  readonly pid: number | undefined
  /** The directory with the VM's logs. */
  readonly dir: string
}

/** What `--plan` prints. */
export interface Plan {
  readonly id: string
  readonly name: string
  readonly vmm: string
  readonly argv: readonly string[]
  readonly steps: readonly string[]
}

/** How `banger run` ended. */
export interface RunResult extends Ended {
  /** 128 + the signal's number when the user interrupted the run. */
  readonly interrupted: number | undefined
}

/** Runs a plugin's VM in the foreground from start to end. Throws a failure when nothing was started. */
export async function runPlugin(request: RunRequest): Promise<Plan | RunResult | "left"> {
  const trace = startTrace()
  if (request.trace !== undefined) requireTraceFile(request.trace)
  const detached = request.supervisor === "detached"
  const onPress = (count: number) => {
    if (count === 2) request.report.warn("stopping at once")
  }
  const interrupts = watchInterrupts(onPress, detached ? ["SIGHUP"] : [])
  const watchdog = startWatchdog()
  const release = containPlugin(interrupts)
  try {
    const surroundings = { args: request.args, log: request.report }
    const candidates = findCandidates()
    const prepared = await prepare(request.plugin, request, { surroundings, interrupts, trace, watchdog })
    interrupts.stop.throwIfAborted()
    const confined = confining(prepared.spec, process.geteuid?.() === 0)
    const chosen = await candidates.choose(prepared.spec.vmm, confined.jail !== undefined)
    if (request.restore !== undefined) checkSnapshot(request.restore, chosen)
    if (request.plan) return plan(prepared, chosen, confined)
    const runner = { prepared: limited(prepared, request.timeout), interrupts, trace, watchdog }
    requireSupervised(request, runner.prepared)
    return await bootAgain(request, runner, chosen, confined)
  } catch (error) {
    const exit = interrupts.exitCode()
    // What an interrupt made fail is not worth a message of its own.
    throw exit === undefined ? error : (interrupts.failure() ?? new Failure("interrupted", { exit, cause: error }))
  } finally {
    release()
    watchdog.dispose()
    interrupts.dispose()
    if (request.trace !== undefined) writeTrace(trace, request.trace, request.report)
  }
}

// --- internal ---

const NAMES = { qemu: "QEMU", firecracker: "Firecracker" }

function sayWhatIsMissing(report: Report, vmm: Vmm, program: Program, { jail, cgroup }: Confining): void {
  if (program.warning !== undefined) report.warn(program.warning)
  if (process.geteuid?.() !== 0) return
  if (jail === undefined) report.warn(`${NAMES[vmm.name]} runs as root and without a jail: run only guests you trust`)
  if (cgroup === undefined) report.info("this host has no cgroup v2: the VM is known by its process alone")
}

/** The run is over and has its own result, which a trace must not take the place of. */
function writeTrace(trace: Trace, path: string, report: Report): void {
  try {
    trace.write(path)
  } catch (error) {
    report.warn(`the trace was not written: ${reason(error)}`)
  }
}

function limited(prepared: Prepared, timeout: number | undefined): Prepared {
  if (timeout === undefined) return prepared
  const { spec, written } = prepared
  const given = typeof written.timeouts === "object" ? written.timeouts : {}
  return {
    ...prepared,
    spec: { ...spec, timeouts: { ...spec.timeouts, run: timeout } },
    written: { ...written, timeouts: { ...given, run: `${timeout}ms` } },
  }
}

function plan({ spec }: Prepared, { vmm, program }: Chosen, { jail, cgroup }: Confining): Plan {
  const { id, layout } = layoutFor(spec.name)
  const root = jail && jailRoot({ base: layout.jails, vmm: vmm.jailName(program), id })
  const found = { ...spec, drives: spec.drives.map(findDrive) }
  const planned = root === undefined ? found : inJail(found, root)
  const uid = jail?.uid ?? UID_RANGE.first
  const confinement = root === undefined ? undefined : { root, ...ownerOf(uid, jail?.gid) }
  const boot = planBoot(planned, id, planned.drives, vmm, confinement)
  const steps = planSteps(layout, vmm, program, boot, cgroup && cgroupPath(cgroup.mount, id))
  const { argv } = vmm.launch(program, boot, { ...layout, cgroup: cgroup && `banger/${id}` })
  return { id, name: spec.name, vmm: vmm.name, argv, steps }
}

/** What only a supervisor can do is not promised without one. */
function requireSupervised({ supervisor }: RunRequest, { spec }: Prepared): void {
  if (supervisor !== "none") return
  const needs = spec.timeouts.run !== undefined ? "timeouts.run" : spec.restart.policy !== "no" ? "restart" : undefined
  if (needs === undefined) return
  throw usage(`${needs} needs a supervisor, and --supervise=none leaves none`, "use --detach instead")
}

/** Boots the VM, and after its end another one, as its restart policy says. */
async function bootAgain(
  request: RunRequest,
  runner: Omit<HookRunner, "session">,
  chosen: Chosen,
  confined: Confining,
): Promise<RunResult | "left"> {
  sayWhatIsMissing(request.report, chosen.vmm, chosen.program, confined)
  const state = openState()
  const policy = restartPolicy(runner.prepared.spec.restart)
  const log = { path: request.log }
  try {
    let ended: Session | undefined
    for (;;) {
      const booted = { was: false }
      const first = ended === undefined
      const { session, outcome } = await boot(request, runner, chosen, confined, state, log, ended, booted)
      if (outcome === "left") return outcome
      const wait = booted.was || !first ? policy.next(outcome) : undefined
      const again =
        wait !== undefined &&
        !runner.interrupts.stop.aborted &&
        (await backOff(request, runner, session, outcome, wait))
      if (again) ended = session
      else {
        session.release()
        return resultOf(session, runner, outcome)
      }
    }
  } finally {
    state.db.close()
  }
}

function resultOf(
  { id, layout }: Session,
  { prepared, interrupts }: Omit<HookRunner, "session">,
  outcome: Outcome,
): RunResult {
  // A plugin's error that nobody caught, and that came when all was done, changes nothing.
  const late = outcome.failure === undefined && interrupts.failure() !== undefined
  const interrupted = late ? undefined : interrupts.exitCode()
  return { id, name: prepared.spec.name, dir: layout.dir, interrupted, ...outcome }
}

/** Waits, with the ended VM's lock held so that it can be told to stop waiting; false when it was. */
async function backOff(
  { report }: RunRequest,
  { interrupts, prepared }: Omit<HookRunner, "session">,
  { db, id }: Session,
  { failure, exit }: Outcome,
  wait: number,
): Promise<boolean> {
  const { name } = prepared.spec
  report.warn(`${name}: ${failure?.message ?? exitText(exit)}; booting it again in ${formatDuration(wait)}`)
  noteRestart(db, id, Date.now() + wait)
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, wait)
  interrupts.stop.addEventListener("abort", () => resolve(), { once: true })
  await promise
  clearTimeout(timer)
  if (!interrupts.stop.aborted) return true
  noteRestart(db, id, null)
  return false
}

async function boot(
  request: RunRequest,
  runner: Omit<HookRunner, "session">,
  { vmm, program }: Chosen,
  confined: Confining,
  state: State,
  log: { path: string | undefined },
  ended: Session | undefined,
  booted: { was: boolean },
): Promise<{ session: Session; outcome: Outcome | "left" }> {
  const { prepared, interrupts, watchdog } = runner
  const { id } = layoutFor(prepared.spec.name)
  const session = await claim(state, request, prepared, vmm.name, id).finally(() => letGo(ended))
  const { name } = prepared.spec
  const { layout } = session
  const { dir } = layout
  const own = log.path === undefined ? undefined : takeLog(log.path, layout, request.report)
  if (own !== undefined) log.path = layout.supervisorLog
  const toTerminal = request.onConsole !== undefined
  watchdog.protect({ id, name, dir, json: request.supervisor === "foreground" && !toTerminal })
  let pid: number | undefined
  const outcome = await supervise({
    ...runner,
    session,
    vmm,
    program,
    confining: confined,
    report: prefixed(request.report, name),
    args: request.args,
    keepOnFailure: request.keepOnFailure,
    restore: request.restore,
    onConsole: request.onConsole ?? ((chunk) => chunk.length),
    leave: request.supervisor === "none",
    onRunning: (running) => {
      pid = running
      return toTerminal ? connectTerminal(layout.consoleInput, () => interrupts.press("SIGINT")) : () => {}
    },
    onBooted: () => {
      booted.was = true
      if (ended === undefined) request.onBooted({ id, name, vmm: vmm.name, pid, dir })
    },
  })
  own?.close()
  try {
    forgetOldest(state, id)
  } catch (error) {
    // The run itself is over and done; the next one tries again.
    request.report.warn(`old VMs could not be forgotten: ${reason(error)}`)
  }
  return { session, outcome }
}

/** The VM before this one: until there is a record of this one, who stops it must find that it is to be booted again. */
function letGo(ended: Session | undefined): void {
  if (ended === undefined) return
  noteRestart(ended.db, ended.id, null)
  ended.release()
}

/** What this process says goes to the VM that it watches, and is kept below a limit. */
function takeLog(path: string, { supervisorLog }: VmLayout, report: Report): Follower | undefined {
  try {
    renameFile(path, supervisorLog)
  } catch (error) {
    // Somebody has removed the VM before this one, and it with that: this VM is run all the same.
    report.warn(`what its supervisor says is lost: ${reason(error)}`)
    return undefined
  }
  return follow(
    supervisorLog,
    VMM_LOG_LIMIT,
    (chunk) => chunk.length,
    (what) => report.warn(`${supervisorLog}: ${what}`),
  )
}

/** Who ran banger as root, by sudo: what runs then may be theirs. */
function askerOf(): Pick<VmRequest, "asker"> {
  const [, uid] = trustOf(process.geteuid?.() ?? 0, process.env.SUDO_UID).uids ?? []
  return uid === undefined ? {} : { asker: { uid, files: [...loadedFiles()] } }
}

/** Gives the VM its record. One of that name whose banger was killed, and that is dead, is finished first. */
async function claim(state: State, request: RunRequest, prepared: Prepared, vmm: string, id: string): Promise<Session> {
  const count = (name: HookName) => inOrder(prepared.loaded, name).length
  const asked = {
    args: [...request.args],
    postStop: count("postStop"),
    supervised: request.supervisor !== "none",
    ...askerOf(),
  }
  try {
    return createSession(prepared, vmm, id, state, asked)
  } catch (error) {
    if (!(error instanceof NameTaken)) throw error
    const { finishNamed } = await import("./recover.ts")
    await finishNamed(state, prepared.spec.name, request.report)
    return createSession(prepared, vmm, id, state, asked)
  }
}
