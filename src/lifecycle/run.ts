import { jailRoot } from "../jail/base.ts"
import { cgroupPath } from "../process/cgroup.ts"
import { UID_RANGE } from "../state/uids.ts"
import { Failure, reason } from "../terms/failure.ts"
import type { Sink } from "../vmm/console.ts"
import type { Program, Vmm } from "../vmm/vmm.ts"
import { type Chosen, findCandidates } from "./chooseVmm.ts"
import { type Confining, confining, ownerOf } from "./confinement.ts"
import { containPlugin } from "./containment.ts"
import { forgetOldest } from "./history.ts"
import { watchInterrupts } from "./interrupts.ts"
import { inJail, planBoot, planSteps } from "./plan.ts"
import { type Overrides, type Prepared, prepare } from "./prepare.ts"
import { prefixed, type Report } from "./report.ts"
import type { Ended } from "./result.ts"
import type { HookRunner } from "./runHooks.ts"
import { createSession, layoutFor, openState } from "./session.ts"
import { checkSnapshot } from "./snapshotDirectory.ts"
import { findDrive } from "./stageVm.ts"
import { supervise } from "./supervise.ts"
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
export async function runPlugin(request: RunRequest): Promise<Plan | RunResult> {
  const trace = startTrace()
  if (request.trace !== undefined) requireTraceFile(request.trace)
  const interrupts = watchInterrupts((count) => {
    if (count === 2) request.report.warn("stopping at once")
  })
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
    return await boot(request, runner, chosen, confined)
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
  return { ...prepared, spec: { ...prepared.spec, timeouts: { ...prepared.spec.timeouts, run: timeout } } }
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

async function boot(
  request: RunRequest,
  runner: Omit<HookRunner, "session">,
  { vmm, program }: Chosen,
  confined: Confining,
): Promise<RunResult> {
  const { prepared, interrupts, watchdog } = runner
  const { id } = layoutFor(prepared.spec.name)
  sayWhatIsMissing(request.report, vmm, program, confined)
  const state = openState()
  const session = createSession(prepared, vmm.name, id, state)
  const { name } = prepared.spec
  const { dir } = session.layout
  watchdog.protect({ id, name, dir, json: request.onConsole === undefined })
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
    onRunning: () =>
      request.onConsole === undefined
        ? () => {}
        : connectTerminal(session.layout.consoleInput, () => interrupts.press("SIGINT")),
  })
  try {
    forgetOldest(state, id)
  } catch (error) {
    // The run itself is over and done; the next one tries again.
    request.report.warn(`old VMs could not be forgotten: ${reason(error)}`)
  }
  state.db.close()
  // A plugin's error that nobody caught, and that came when all was done, changes nothing.
  const late = outcome.failure === undefined && interrupts.failure() !== undefined
  return { id, name, dir, interrupted: late ? undefined : interrupts.exitCode(), ...outcome }
}
