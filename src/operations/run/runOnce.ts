import { messageOf } from "../../base/terms/failure.ts"
import { prefixed } from "../../base/terms/log.ts"
import type { ScopedVm } from "../../host/systemd/scope.ts"
import { noteRestart } from "../../store/state/notes.ts"
import type { State } from "../../store/state/open.ts"
import { requireSocketPaths } from "../../supervisor/boot/vmmSockets.ts"
import { stateTeller } from "../../supervisor/hooks/ownService.ts"
import type { PluginHost } from "../../supervisor/hooks/pluginHost.ts"
import { goToRest, type Resting } from "../../supervisor/rest/goToRest.ts"
import type { Restarts } from "../../supervisor/rest/words.ts"
import { supervise } from "../../supervisor/supervise.ts"
import type { RunOutcome, VmContext } from "../../supervisor/vmContext.ts"
import type { Machine } from "../../vm/machine.ts"
import { layoutFor, type Session } from "../../vm/session.ts"
import { connectTerminal, unreadInput } from "../keyboard/runTerminal.ts"
import { createVm, noteLoaded } from "./createVm.ts"
import { forgetOldest } from "./forgetOldest.ts"
import { takeLog } from "./ownLog.ts"
import type { ResolvedRun } from "./resolveRun.ts"
import type { RunRequest } from "./runRequest.ts"

/** What one boot of a run has from the boot before it. */
export interface BeforeBoot {
  /** Where this process's messages go, when it has no terminal. */
  readonly logFile: string | undefined
  /** The VM before this one: it stays locked until there is a record of this one. */
  readonly ended: Session | undefined
  /** The restarts by now. */
  readonly restarts: () => Restarts
}

/** How one boot went. */
export interface Booted extends Pick<BeforeBoot, "logFile"> {
  /** Its VM, which the caller unlocks. */
  readonly session: Session
  readonly outcome: RunOutcome | "left"
  /** Whether the VM came to run. */
  readonly booted: boolean
}

/** Boots one VM of a run and watches it to its end. */
export async function runOnce(
  host: PluginHost,
  state: State,
  run: ResolvedRun,
  { logFile, ended, restarts }: BeforeBoot,
): Promise<Booted> {
  const { request, plugin, vmm, program, confinement } = run
  const { name } = plugin.spec
  const id = planId(run)
  // While the VM is staged.
  const left = request.supervisor === "foreground" ? undefined : leave({ id, name }, run, ended)
  let apart: Promise<unknown> | undefined = left
  const onState = stateTeller(host.service, { id, name })
  const session = await host.trace.span("record", () =>
    createVm(state, run, { id, onState }).finally(() => unlock(ended)),
  )
  const { layout } = session
  const { dir } = layout
  const own = logFile === undefined ? undefined : takeLog(logFile, layout, request.log)
  const toTerminal = request.onConsole !== undefined
  host.watchdog.protect({ id, name, dir, document: request.supervisor === "foreground" && !toTerminal })
  let pid: number | undefined
  let booted = false
  const context = { session, plugin, vmm, args: request.args, log: prefixed(request.log, name) }
  const outcome = await supervise(host, context, {
    ...{ program, confinement, keepOnFailure: request.keepOnFailure, restore: run.restore?.dir },
    onConsole: request.onConsole ?? ((chunk) => chunk.length),
    leave: request.supervisor === "none",
    apart: left,
    rest: mayRest(run)
      ? (machine, { awake, ...how }) => goToRest(host, { ...restOf(context, machine, restarts()), ...how }, awake)
      : undefined,
    onRunning: (running) => {
      pid = running
      apart = left?.then((part) => part?.())
      if (request.supervisor === "foreground" && ended === undefined) {
        const unread = unreadInput(request.interactive)
        if (unread !== undefined) context.log.info(unread)
      }
      if (!toTerminal && request.interactive !== true) return () => {}
      return (
        request.connectConsole?.(layout.consoleInput) ?? connectTerminal(layout.consoleInput, host, request.interactive)
      )
    },
    onBooted: () => {
      booted = true
      const told = { id, name, vmm: vmm.name, pid, dir }
      if (ended === undefined) apart === undefined ? request.onBooted(told) : apart.then(() => request.onBooted(told))
      // Nothing waits for this process now, as it would at the end.
      noteLoaded(state, id, request)
      forgetOld(state, id, request)
    },
  })
  // This process may end next.
  if (outcome === "left") await apart
  own?.close()
  if (booted && outcome !== "left") noteLoaded(state, id, request)
  if (!booted) forgetOld(state, id, request)
  return { session, outcome, booted, logFile: own === undefined ? logFile : layout.supervisorLog }
}

/** A new id for a run's VM. Throws BAD_CONFIG where a path with it is too long for a socket. */
export function planId(run: ResolvedRun): string {
  const { name, firecracker } = run.plugin.spec
  const { id, layout } = layoutFor(name)
  requireSocketPaths(run, { layout, jailed: run.confinement.jail !== undefined, firecracker })
  return id
}

// --- internal ---

/**
 * Has this process, or what it starts, outlive what started it, where that is to be. Resolves to what is to be called once the VMM runs, if
 * anything.
 */
async function leave(
  vm: ScopedVm,
  { request: { supervisor, log }, confinement }: ResolvedRun,
  ended: Session | undefined,
): Promise<(() => Promise<void>) | undefined> {
  const { hasOwn, leaveCaller, leaveWithVmm } = await import("../../supervisor/leaveCaller.ts")
  if (!hasOwn(confinement.cgroup)) {
    // Each VMM has a scope, whoever its supervisor is.
    const part = await leaveWithVmm(vm, { log, again: ended !== undefined })
    return supervisor === "none" ? undefined : part
  }
  if (supervisor === "detached" && ended === undefined) await leaveCaller(vm, log)
  return undefined
}

/** The run itself does not fail by it; the next one tries again. */
function forgetOld(state: State, current: string, { owner, log }: Pick<RunRequest, "owner" | "log">): void {
  try {
    forgetOldest(state, current, { owner: owner?.uid })
  } catch (error) {
    log.warn(`old VMs could not be forgotten: ${messageOf(error)}`)
  }
}

function restOf(
  { session, plugin }: VmContext,
  machine: Machine,
  restarts: Restarts,
): Omit<Resting, "until" | "over" | "dhcp"> {
  const { name, console } = plugin.spec
  return { session, name, machine, consoleLimitBytes: console.limit, restarts }
}

/**
 * Whether this process may become one that only waits: it has no terminal, and what is asked of it stands on the VM's record.
 */
function mayRest({ request, plugin }: ResolvedRun): boolean {
  const { supervisor, trace, restore } = request
  const again = restore !== undefined && plugin.spec.restart.policy !== "no"
  return supervisor === "detached" && trace === undefined && !again
}

/**
 * Unlocks the VM of the previous boot only now: until the new record exists, `banger stop` must still find a VM that is
 * about to restart.
 */
function unlock(ended: Session | undefined): void {
  if (ended === undefined) return
  noteRestart(ended.db, ended.id, null)
  ended.unlock()
}
