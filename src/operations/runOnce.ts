import { messageOf } from "../base/terms/failure.ts"
import { type Log, prefixed } from "../base/terms/log.ts"
import type { Chosen } from "../host/vmm/vmm.ts"
import { renameFile } from "../store/files/replaceFile.ts"
import { type Follower, follow } from "../store/logs/boundedFile.ts"
import type { State } from "../store/state/open.ts"
import type { VmLayout } from "../store/state/places.ts"
import { noteRestart } from "../store/state/records.ts"
import type { ConfinementPlan } from "../supervisor/boot/confinement.ts"
import { requireSocketPaths } from "../supervisor/boot/vmmSockets.ts"
import type { HookRunner } from "../supervisor/hooks/runHooks.ts"
import { supervise } from "../supervisor/supervise.ts"
import type { RunOutcome } from "../supervisor/supervision.ts"
import { VMM_LOG_MAX_BYTES } from "../vm/machine.ts"
import { layoutFor, type Session } from "../vm/session.ts"
import { createVm } from "./createVm.ts"
import { forgetOldest } from "./forgetOldest.ts"
import type { RunRequest } from "./runRequest.ts"
import { connectTerminal } from "./terminal.ts"

/** Everything that is known before there is a VM. */
export interface ReadyBoot {
  readonly request: RunRequest
  readonly runner: Omit<HookRunner, "session">
  readonly chosen: Chosen
  readonly confined: ConfinementPlan
}

/** One boot of a run that may have several. */
export interface Attempt {
  /** Where this process's messages go, when it has no terminal. */
  readonly logFile: { path: string | undefined }
  /** The VM before this one, whose lock is held until there is a record of this one. */
  readonly ended: Session | undefined
  /** Whether the VM came to run. */
  readonly booted: { was: boolean }
}

/** Boots one VM of a run and watches over it to its end. The caller lets go of its lock. */
export async function runOnce(
  { request, runner, chosen, confined }: ReadyBoot,
  state: State,
  { logFile, ended, booted }: Attempt,
): Promise<{ session: Session; outcome: RunOutcome | "left" }> {
  const { prepared, interrupts, watchdog } = runner
  const { vmm, program } = chosen
  const { id, layout: planned } = layoutFor(prepared.spec.name)
  const { firecracker } = prepared.spec
  requireSocketPaths(chosen, { layout: planned, jailed: confined.jail !== undefined, firecracker })
  const session = await createVm(state, request, prepared, vmm.name, id).finally(() => letGo(ended))
  const { name } = prepared.spec
  const { layout } = session
  const { dir } = layout
  const own = logFile.path === undefined ? undefined : takeLog(logFile.path, layout, request.log)
  if (own !== undefined) logFile.path = layout.supervisorLog
  const toTerminal = request.onConsole !== undefined
  watchdog.protect({ id, name, dir, json: request.supervisor === "foreground" && !toTerminal })
  let pid: number | undefined
  const outcome = await supervise({
    ...runner,
    session,
    vmm,
    program,
    confining: confined,
    log: prefixed(request.log, name),
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
    request.log.warn(`old VMs could not be forgotten: ${messageOf(error)}`)
  }
  return { session, outcome }
}

// --- internal ---

/** The VM before this one: until there is a record of this one, who stops it must find that it is to be booted again. */
function letGo(ended: Session | undefined): void {
  if (ended === undefined) return
  noteRestart(ended.db, ended.id, null)
  ended.unlock()
}

/** What this process says goes to the VM that it watches, and is kept below a limit. */
function takeLog(path: string, { supervisorLog }: VmLayout, log: Log): Follower | undefined {
  try {
    renameFile(path, supervisorLog)
  } catch (error) {
    // Somebody has removed the VM before this one, and it with that: this VM is run all the same.
    log.warn(`what its supervisor says is lost: ${messageOf(error)}`)
    return undefined
  }
  return follow(
    supervisorLog,
    VMM_LOG_MAX_BYTES,
    (chunk) => chunk.length,
    (what) => log.warn(`${supervisorLog}: ${what}`),
  )
}
