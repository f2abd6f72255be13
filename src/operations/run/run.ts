import { liftFileSize } from "../../base/linux/limits.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { formatSize } from "../../base/terms/quantity.ts"
import type { Service } from "../../host/systemd/service.ts"
import type { ResolvedPlugin } from "../../inputs/plugin/resolved.ts"
import { openState } from "../../store/state/open.ts"
import { type Candidates, findCandidates, noticeOf } from "../../supervisor/boot/chooseVmm.ts"
import { tried } from "../../supervisor/boot/confinement.ts"
import type { Plan } from "../../supervisor/boot/planRun.ts"
import { orInterrupted } from "../../supervisor/hooks/interrupts.ts"
import { ownService } from "../../supervisor/hooks/ownService.ts"
import { type PluginHost, startPluginHost } from "../../supervisor/hooks/pluginHost.ts"
import { requireTraceFile, type Trace } from "../../supervisor/hooks/trace.ts"
import { noteKeyboardStop } from "../keyboard/keyboardStop.ts"
import { preparePlugin, type ResolvedRun, requireRunnable, resolvePrepared } from "./resolveRun.ts"
import type { RunRequest, RunResult } from "./runRequest.ts"
import { runUntilDone } from "./runUntilDone.ts"
import { livingNamed } from "./takeUp.ts"

// This room has what can be asked of a VM, a verb a file: each finds the VM, and leaves the work to the rooms below.

/** Runs the VM of a plugin that was loaded in another process; undefined where it is to be run here. */
export type RunElsewhere = (
  host: PluginHost,
  request: RunRequest,
  plugin: ResolvedPlugin,
) => Promise<RunResult | undefined>

/**
 * Runs a plugin's VM from start to end, and again as its restart policy says; or, where only a plan is asked for, returns
 * what that would do. Returns "left" when the VM runs on without a supervisor, as it was asked to. Throws a failure when
 * nothing was started. `helpedBy` may run it in another process.
 */
export async function runPlugin(
  request: RunRequest,
  { helpedBy }: { readonly helpedBy?: RunElsewhere | undefined } = {},
): Promise<Plan | RunResult | "left"> {
  if (request.trace !== undefined) requireTraceFile(request.trace)
  // Only one in the foreground is the service that it was started as.
  const service = request.supervisor === "foreground" && !request.plan ? await ownService() : undefined
  // A detached supervisor has no terminal that could go.
  using host = startPluginHost(request.log, { ignored: request.supervisor === "detached" ? ["SIGHUP"] : [], service })
  try {
    const asked = service === undefined ? request : telling(service, request)
    const candidates = findCandidates()
    const plugin = await preparePlugin(host, asked)
    const helped = await helpedBy?.(host, asked, plugin)
    if (helped !== undefined) return helped
    return await runLoaded(host, plugin, { request: asked, candidates })
  } catch (error) {
    throw orInterrupted(host.interrupts, error)
  } finally {
    if (request.trace !== undefined) writeTrace(host.trace, request.trace, request.log)
  }
}

/** As `runPlugin`, of a plugin that was loaded, in a process of root's that was made ready for it by a user of sudo. */
export async function runPrepared(
  host: PluginHost,
  plugin: ResolvedPlugin,
  request: RunRequest,
): Promise<Plan | RunResult | "left"> {
  try {
    return await runLoaded(host, plugin, { request, candidates: findCandidates("start", { bySudo: true }) })
  } catch (error) {
    throw orInterrupted(host.interrupts, error)
  }
}

// --- internal ---

async function runLoaded(
  host: PluginHost,
  plugin: ResolvedPlugin,
  { request, candidates }: { readonly request: RunRequest; readonly candidates: Candidates },
): Promise<Plan | RunResult | "left"> {
  const planned = await resolvePrepared(host, request, { plugin, candidates })
  const notice = noticeOf(planned)
  if (notice !== undefined) request.log.info(notice)
  if (request.plan) {
    const { planRun } = await import("../../supervisor/boot/planRun.ts")
    return planRun(planned.plugin, planned, { ...planned.confinement, restore: planned.restore })
  }
  const run = { ...planned, confinement: tried(planned.confinement) }
  const mostBytes = liftFileSize()
  if (mostBytes !== undefined) sayLimited(mostBytes, request.log)
  // Not closed: this process ends next, and to close the last connection takes two fsyncs.
  const state = openState({ newer: request.restarts === undefined ? "refused" : "used" })
  requireRunnable(run, () => livingNamed(state, run.plugin.spec.name))
  sayWhatIsMissing(request.log, run)
  const { name } = run.plugin.spec
  // Notes are by name, and one of root's own may have the name at a boot of the host.
  using _noted =
    request.owner === undefined ? noteKeyboardStop(host.interrupts, state, { name, log: request.log }) : undefined
  const result = await runUntilDone(host, state, run)
  host.service?.stopping(`${name}: ended`)
  return result
}

/** Of no VM are banger's records, journals and logs larger, in bytes. */
const OWN_FILES_MAX_BYTES = 8 * 1024 * 1024

/** Says what the caller's limit on files means, which this user may not raise. Throws HOST_LACKS where banger itself cannot do with it. */
function sayLimited(mostBytes: number, log: Log): void {
  const words = `a file may have ${formatSize(mostBytes)} here (ulimit -Hf)`
  const hint = "start it from where that is unlimited: root may raise it, by prlimit --fsize=unlimited --pid $$"
  if (mostBytes < OWN_FILES_MAX_BYTES)
    throw new Failure("HOST_LACKS", `${words}, and banger's records may come to need more`, { hint, subject: "fsize" })
  log.warn(
    `${words}: a console is cut where it has as many, and so is what its guest writes to a disk; root may raise it`,
  )
}

function telling(service: Service, request: RunRequest): RunRequest {
  const onBooted: RunRequest["onBooted"] = (vm) => {
    request.onBooted(vm)
    service.ready(`${vm.name}: running (${vm.id})`)
  }
  return { ...request, onBooted }
}

const NAMES = { qemu: "QEMU", firecracker: "Firecracker" }

function sayWhatIsMissing(log: Log, { vmm, program, confinement, disksNotice }: ResolvedRun): void {
  if (disksNotice !== undefined) log.warn(disksNotice)
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
