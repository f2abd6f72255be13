import { Failure, messageOf, usageError } from "../base/terms/failure.ts"
import type { Log } from "../base/terms/log.ts"
import type { Program, Vmm, VmmNeeds } from "../host/vmm/vmm.ts"
import type { ResolvedPlugin } from "../inputs/plugin/resolved.ts"
import { findCandidates } from "../supervisor/boot/chooseVmm.ts"
import { type ConfinementPlan, planConfinement } from "../supervisor/boot/confinement.ts"
import { type Plan, planRun } from "../supervisor/boot/planRun.ts"
import { prepare } from "../supervisor/boot/prepare.ts"
import { requireFitting, requireNetwork } from "../supervisor/boot/requireNetwork.ts"
import { watchInterrupts } from "../supervisor/hooks/interrupts.ts"
import { requireTraceFile, startTrace, type Trace } from "../supervisor/hooks/trace.ts"
import { trapPluginExit } from "../supervisor/hooks/trapPluginExit.ts"
import { startWatchdog } from "../supervisor/hooks/watchdog.ts"
import { checkSnapshot } from "../supervisor/snapshot/manifest.ts"
import type { RunRequest, RunResult } from "./runRequest.ts"
import { runUntilDone } from "./runUntilDone.ts"

/** Runs a plugin's VM in the foreground from start to end. Throws a failure when nothing was started. */
export async function runPlugin(request: RunRequest): Promise<Plan | RunResult | "left"> {
  const trace = startTrace()
  if (request.trace !== undefined) requireTraceFile(request.trace)
  const detached = request.supervisor === "detached"
  const onPress = (count: number) => {
    if (count === 2) request.log.warn("stopping at once")
  }
  const interrupts = watchInterrupts(onPress, detached ? ["SIGHUP"] : [])
  const watchdog = startWatchdog(request.log)
  const release = trapPluginExit(interrupts)
  try {
    const surroundings = { args: request.args, log: request.log }
    const candidates = findCandidates()
    const prepared = await prepare(request.plugin, request, { surroundings, interrupts, trace, watchdog })
    interrupts.stop.throwIfAborted()
    const confined = planConfinement(prepared.spec, process.geteuid?.() === 0)
    const chosen = await candidates.choose(wantedVmm(prepared), confined.jail !== undefined)
    requireFitting(prepared.spec, chosen.vmm.name, request.restore !== undefined)
    chosen.vmm.require(chosen.program, wishOf(prepared.spec, confined, request.restore !== undefined))
    if (request.restore !== undefined) checkSnapshot(request.restore, chosen)
    if (request.plan) return planRun(prepared, chosen, confined)
    requireNetwork(prepared.spec, process.geteuid?.() === 0)
    const runner = { prepared: limited(prepared, request.timeout), interrupts, trace, watchdog }
    requireSupervised(request, runner.prepared)
    sayWhatIsMissing(request.log, chosen.vmm, chosen.program, confined)
    return await runUntilDone({ request, runner, chosen, confined })
  } catch (error) {
    const exit = interrupts.exitCode()
    // What an interrupt made fail is not worth a message of its own.
    throw exit === undefined
      ? error
      : (interrupts.failure() ?? new Failure("FAILED", "interrupted", { exit, cause: error }))
  } finally {
    release()
    watchdog.dispose()
    interrupts.dispose()
    if (request.trace !== undefined) writeTrace(trace, request.trace, request.log)
  }
}

// --- internal ---

const NAMES = { qemu: "QEMU", firecracker: "Firecracker" }

function wishOf(spec: ResolvedPlugin["spec"], { jail }: ConfinementPlan, restored: boolean): VmmNeeds {
  const { vcpus, memory, firecracker, network } = spec
  // The VMM's own user-mode network is none that Firecracker has.
  const networked = network !== false && network.mode !== "user"
  return { vcpus, memoryMiB: memory, firecracker, jailed: jail !== undefined, networked, restored }
}

function sayWhatIsMissing(log: Log, vmm: Vmm, program: Program, { jail, cgroup }: ConfinementPlan): void {
  if (program.warning !== undefined) log.warn(program.warning.words)
  if (process.geteuid?.() !== 0) return
  if (jail === undefined) log.warn(`${NAMES[vmm.name]} runs as root and without a jail: run only guests you trust`)
  if (cgroup === undefined) log.info("this host has no cgroup v2: the VM is known by its process alone")
}

/** Only QEMU has a user-mode network. */
function wantedVmm({ spec }: ResolvedPlugin): ResolvedPlugin["spec"]["vmm"] {
  const user = spec.network !== false && spec.network.mode === "user"
  return user && spec.vmm === "auto" ? "qemu" : spec.vmm
}

/** The run is over and has its own result, which a trace must not take the place of. */
function writeTrace(trace: Trace, path: string, log: Log): void {
  try {
    trace.write(path)
  } catch (error) {
    log.warn(`the trace was not written: ${messageOf(error)}`)
  }
}

function limited(prepared: ResolvedPlugin, timeout: number | undefined): ResolvedPlugin {
  if (timeout === undefined) return prepared
  const { spec, written } = prepared
  const given = typeof written.timeouts === "object" ? written.timeouts : {}
  return {
    ...prepared,
    spec: { ...spec, timeouts: { ...spec.timeouts, run: timeout } },
    written: { ...written, timeouts: { ...given, run: `${timeout}ms` } },
  }
}

/** What only a supervisor can do is not promised without one. */
function requireSupervised({ supervisor }: RunRequest, { spec }: ResolvedPlugin): void {
  if (supervisor !== "none") return
  const needs = spec.timeouts.run !== undefined ? "timeouts.run" : spec.restart.policy !== "no" ? "restart" : undefined
  if (needs === undefined) return
  throw usageError(`${needs} needs a supervisor, and --supervise=none leaves none`, "use --detach instead")
}
