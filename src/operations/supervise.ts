import { liftFileSize } from "../base/linux/limits.ts"
import { nameProcess } from "../base/linux/processName.ts"
import { ENDING_SIGNALS } from "../base/linux/signals.ts"
import { Failure } from "../base/terms/failure.ts"
import { type Log, prefixed } from "../base/terms/log.ts"
import type { ExitStatus } from "../host/process/exitStatus.ts"
import { renameFile } from "../store/files/replaceFile.ts"
import type { State } from "../store/state/open.ts"
import { findRecord } from "../store/state/records.ts"
import { isFinal } from "../store/state/vmState.ts"
import { heeded } from "../supervisor/hooks/interrupts.ts"
import { ownService } from "../supervisor/hooks/ownService.ts"
import { startPluginHost } from "../supervisor/hooks/pluginHost.ts"
import { useKeptModules } from "../supervisor/rest/useKeptModules.ts"
import type { Restarts } from "../supervisor/rest/words.ts"
import { hasRun, takeOver } from "../supervisor/takeOver.ts"
import { lockVmRecord } from "../vm/lockVmRecord.ts"
import { statusOf } from "../vm/status.ts"
import type { DetachedVm } from "./detach.ts"
import { noteKeyboardStop } from "./keyboard/keyboardStop.ts"
import { restartDetached } from "./restart.ts"
import type { RunResult } from "./run/runRequest.ts"

/** What a supervisor that has rested knows, and has. */
export interface Woken {
  /** The descriptor of the VM's lock. */
  readonly lock: number
  readonly restarts: Restarts
  /** When the run's time is up, by `monotonicMs`. */
  readonly until: number | undefined
  /** The numbers of the signals that woke it. */
  readonly signals: readonly number[]
  /** How the VMM has exited, if it has. */
  readonly exited: ExitStatus | undefined
  /** The reason that it has given for shutting down, if it has. */
  readonly announced: string | undefined
}

/** How a VM is supervised. */
export interface SuperviseOptions {
  readonly log: Log
  /** A file of this process's messages, when it has no terminal; it becomes the VM's. */
  readonly logFile?: string | undefined
  /** What this process has from its program before, which only waited until the VM needed its supervisor. */
  readonly woken?: Woken | undefined
  /** Called when the VM is in this process's hands. */
  readonly onReady: (vm: DetachedVm) => void
}

/**
 * Takes over a running VM whose supervisor is gone, and watches it to its end as `banger run` does. Throws WRONG_STATE
 * when another banger has it, or it has ended.
 */
export async function superviseVm(
  state: State,
  reference: string,
  { log, logFile, woken, onReady }: SuperviseOptions,
): Promise<RunResult> {
  liftFileSize()
  const { id, name } = findRecord(state.db, reference)
  const ended = () => new Failure("WRONG_STATE", `${name} (${id}) has ended`, { subject: id })
  const locked = lockVmRecord(state, id, "supervise", { inherited: woken?.lock })
  if (locked === undefined) {
    const hint = `banger ps shows its supervisor; to see what it says: banger logs --supervisor ${id}`
    throw new Failure("WRONG_STATE", `${name} (${id}) has a supervisor, or another banger acts on it`, {
      ...{ hint, subject: id },
    })
  }
  if (locked === "gone") throw ended()
  const { layout, record, lock } = locked
  const { dir } = layout
  try {
    if (isFinal(record.state)) throw ended()
    const { pid } = statusOf(state, record)
    if (logFile !== undefined) renameFile(logFile, layout.supervisorLog)
    // One with a log of its own has no terminal that could go.
    const detached = logFile !== undefined || woken !== undefined
    if (detached) nameProcess(`banger: ${name}`)
    const leaving = logFile === undefined ? undefined : await import("../supervisor/leaveCaller.ts")
    await leaving?.leaveCaller({ id, name }, log)
    let kept: Promise<void> | undefined
    const service = detached ? undefined : await ownService()
    using host = startPluginHost(prefixed(log, name), { ignored: detached ? ["SIGHUP"] : [], service })
    const ready = () => {
      const vm = { id, name, vmm: record.vmm, dir, ...(pid !== undefined && { pid }) }
      kept === undefined ? onReady(vm) : kept.then(() => onReady(vm))
      service?.ready(`${name}: running (${id})`)
    }
    using _noted = noteKeyboardStop(host.interrupts, state, { name, log })
    const came = woken?.signals ?? []
    for (const name of heeded()) if (came.includes(ENDING_SIGNALS[name])) host.interrupts.press(name)
    if (woken !== undefined) useKeptModules(layout.modules, log)
    const document = !detached && log.json !== undefined
    const taken = await takeOver(host, state, {
      locked,
      goal: {
        do: "supervise",
        onReady: ready,
        onRunning(running) {
          kept = leaving?.keepVmm({ id, name, pid: running }, log)
          return () => {}
        },
        document,
        rested: woken !== undefined,
        until: woken?.until,
        exited: woken?.exited,
        announced: woken?.announced,
      },
    })
    if (taken.is === "running" || taken.outcome === undefined) throw ended()
    // A VM that never came to run is a failed first boot: no restart policy counts those.
    if (hasRun(record.state))
      await restartDetached(host, state, record, {
        ...taken.outcome,
        rested: woken && { restarts: woken.restarts, modules: layout.modules },
      })
    return { id, name, dir, interrupted: host.interrupts.exitCode(), ...taken.outcome }
  } finally {
    lock.unlock()
  }
}
