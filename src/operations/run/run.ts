import { messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import type { Service } from "../../host/systemd/service.ts"
import { openState } from "../../store/state/open.ts"
import { noticeOf } from "../../supervisor/boot/chooseVmm.ts"
import { tried } from "../../supervisor/boot/confinement.ts"
import { copiedDrive } from "../../supervisor/boot/drives.ts"
import type { Plan } from "../../supervisor/boot/planRun.ts"
import { orInterrupted } from "../../supervisor/hooks/interrupts.ts"
import { ownService } from "../../supervisor/hooks/ownService.ts"
import { startPluginHost } from "../../supervisor/hooks/pluginHost.ts"
import { requireTraceFile, type Trace } from "../../supervisor/hooks/trace.ts"
import { noteKeyboardStop } from "./keyboardStop.ts"
import { type ResolvedRun, requireRunnable, resolveRun } from "./resolveRun.ts"
import type { RunRequest, RunResult } from "./runRequest.ts"
import { runUntilDone } from "./runUntilDone.ts"
import { livingNamed } from "./takeUp.ts"

// This room has what can be asked of a VM, a verb a file: each finds the VM, and leaves the work to the rooms below.

/**
 * Runs a plugin's VM from start to end, and again as its restart policy says; or, where only a plan is asked for, returns
 * what that would do. Returns "left" when the VM runs on without a supervisor, as it was asked to. Throws a failure when
 * nothing was started.
 */
export async function runPlugin(request: RunRequest): Promise<Plan | RunResult | "left"> {
  if (request.trace !== undefined) requireTraceFile(request.trace)
  // Only one in the foreground is the service that it was started as.
  const service = request.supervisor === "foreground" && !request.plan ? await ownService() : undefined
  // A detached supervisor has no terminal that could go.
  using host = startPluginHost(request.log, { ignored: request.supervisor === "detached" ? ["SIGHUP"] : [], service })
  try {
    const planned = await resolveRun(host, service === undefined ? request : telling(service, request))
    const notice = noticeOf(planned)
    if (notice !== undefined) request.log.info(notice)
    if (request.plan) {
      const { planRun } = await import("../../supervisor/boot/planRun.ts")
      return planRun(planned.plugin, planned, { ...planned.confinement, restore: planned.restore })
    }
    const run = { ...planned, confinement: tried(planned.confinement) }
    // Not closed: this process ends next, and to close the last connection takes two fsyncs.
    const state = openState({ newer: request.restarts === undefined ? "refused" : "used" })
    requireRunnable(run, () => livingNamed(state, run.plugin.spec.name))
    sayWhatIsMissing(request.log, run)
    using _noted = noteKeyboardStop(host.interrupts, state, { name: run.plugin.spec.name, log: request.log })
    const result = await runUntilDone(host, state, run)
    service?.stopping(`${run.plugin.spec.name}: ended`)
    return result
  } catch (error) {
    throw orInterrupted(host.interrupts, error)
  } finally {
    if (request.trace !== undefined) writeTrace(host.trace, request.trace, request.log)
  }
}

// --- internal ---

function telling(service: Service, request: RunRequest): RunRequest {
  const onBooted: RunRequest["onBooted"] = (vm) => {
    request.onBooted(vm)
    service.ready(`${vm.name}: running (${vm.id})`)
  }
  return { ...request, onBooted }
}

const NAMES = { qemu: "QEMU", firecracker: "Firecracker" }

function sayWhatIsMissing(log: Log, { plugin, vmm, program, confinement, disksNotice }: ResolvedRun): void {
  if (disksNotice !== undefined) log.warn(disksNotice)
  const { drives, restart } = plugin.spec
  const copied = confinement.jail === undefined || restart.policy === "no" ? undefined : copiedDrive(drives)
  if (copied !== undefined)
    log.info(
      `each boot gets a new copy of ${copied.path}, without what the guest wrote to the last: persist keeps a disk`,
    )
  if (program.warning !== undefined) log.warn(program.warning.words)
  if (process.geteuid?.() !== 0) return
  if (confinement.jail === undefined)
    log.warn(`${NAMES[vmm.name]} runs as root and without a jail: run only guests you trust`)
  if (confinement.cgroup === undefined) {
    const why = confinement.cgroupDoubt ?? "this host has no cgroup v2"
    log.info(`${why}: the VM is known by its process alone`)
  }
}

/** The run is over and has its own result, which a trace must not take the place of. */
function writeTrace(trace: Trace, path: string, log: Log): void {
  try {
    trace.write(path)
  } catch (error) {
    log.warn(`the trace was not written: ${messageOf(error)}`)
  }
}
