import { Failure, usageError } from "../base/terms/failure.ts"
import { type Log, prefixed } from "../base/terms/log.ts"
import { renameFile } from "../store/files/replaceFile.ts"
import type { State } from "../store/state/open.ts"
import { findRecord } from "../store/state/records.ts"
import { isFinal } from "../store/state/vmState.ts"
import { type PluginHost, withPluginHost } from "../supervisor/hooks/pluginHost.ts"
import { hasRun, takeOver } from "../supervisor/takeOver.ts"
import type { Ended } from "../vm/exit.ts"
import { lockVmRecord } from "../vm/lockVmRecord.ts"
import { statusOf } from "../vm/status.ts"
import type { DetachedVm } from "./detach.ts"
import { restartDetached } from "./restartDetached.ts"

/** How supervising ended. */
export interface Supervised extends Ended {
  readonly interrupted: number | undefined
}

/**
 * Takes a running VM over whose supervisor is gone, and watches over it to its end as `banger run` does. `onReady` is
 * called when it is in this process's hands; `logFile`, a file of this process's messages, becomes the VM's. Throws a failure when another banger has it, or it has ended.
 */
export async function superviseVm(
  state: State,
  reference: string,
  log: Log,
  logFile: string | undefined,
  onReady: (vm: DetachedVm) => void,
): Promise<Supervised> {
  const { id, name } = findRecord(state.db, reference)
  const held = lockVmRecord(state, id, "supervise")
  if (held === undefined) throw new Failure("FAILED", `${name} (${id}) has a supervisor, or another banger is at it`)
  if (held === "gone" || isFinal(held.record.state)) {
    if (held !== "gone") held.lock.unlock()
    throw usageError(`${name} (${id}) has ended`)
  }
  const { layout, record } = held
  const { dir } = layout
  const { pid } = statusOf(state, record)
  const ready = () => onReady({ id, name, vmm: record.vmm, dir, ...(pid !== undefined && { pid }) })
  try {
    if (logFile !== undefined) renameFile(logFile, layout.supervisorLog)
    const supervise = async (tools: PluginHost) => {
      const taken = await takeOver(state, held, { watch: { onBooted: ready } }, tools)
      if (typeof taken !== "object") throw usageError(`${name} (${id}) has ended`)
      // Of a VM that never came to run a first boot has failed.
      if (hasRun(record.state)) await restartDetached(state, record, taken, tools)
      return { id, name, dir, interrupted: tools.interrupts.exitCode(), ...taken }
    }
    // One with a log of its own has no terminal that could go.
    return await withPluginHost(prefixed(log, name), supervise, logFile === undefined ? [] : ["SIGHUP"])
  } finally {
    held.lock.unlock()
  }
}
