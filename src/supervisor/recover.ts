import { Failure, type FailureJson, whyOf } from "../base/terms/failure.ts"
import type { Unknown } from "../base/terms/liveness.ts"
import { type Log, prefixed } from "../base/terms/log.ts"
import { runSelf } from "../host/process/runSelf.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { recall } from "../store/state/recall.ts"
import { listUnfinished, type VmRecord } from "../store/state/records.ts"
import { isFinal } from "../store/state/vmState.ts"
import { livenessOf } from "../vm/liveness.ts"
import { lockHolder } from "../vm/lock.ts"
import { lockVmRecord } from "../vm/lockVmRecord.ts"
import { requestOf } from "../vm/request.ts"
import { isChanging } from "./changes/settle.ts"
import { noPluginHost, startPluginHost } from "./hooks/pluginHost.ts"
import { takeOver } from "./takeOver.ts"

/** What became of one VM that had not ended, by its record. */
export interface Recovery {
  readonly id: string
  readonly name: string
  /**
   * `supervised`, `alive`: it runs, with a supervisor and without; `busy`: another banger acts on it; `kept`: a failed start
   * that was kept for inspection; `recovered`: it was dead, and everything is released; `unknown`, `failed`: see `why`.
   */
  readonly is: "supervised" | "alive" | "busy" | "kept" | "recovered" | "unknown" | "failed"
  readonly why?: string | undefined
  readonly hint?: string | undefined
  /** The failure that made it `failed`, where this process has it. */
  readonly error?: FailureJson | undefined
}

/**
 * Finishes every VM that is dead and whose supervisor is gone: postStop hooks, release, final state, once. One that lives
 * is left running, with its handles mended. Where liveness is unknown, nothing is changed. After `stop` no other is begun.
 */
export async function recoverAll(state: State, log: Log, stop?: AbortSignal): Promise<readonly Recovery[]> {
  const recoveries: Recovery[] = []
  for (const record of listUnfinished(state.db)) {
    if (stop?.aborted === true) break
    recoveries.push(await recover(state, record, log))
  }
  return recoveries
}

/** As `recoverAll`, of one VM. */
export async function recover(state: State, record: VmRecord, log: Log): Promise<Recovery> {
  const { id, name } = record
  const is = (what: Recovery["is"], more: Pick<Recovery, "why" | "hint" | "error"> = {}) => ({
    id,
    name,
    is: what,
    ...more,
  })
  if (isSupervised(state, id)) return is("supervised")
  if (record.keptForInspection) return is("kept")
  try {
    const first = peekLiveness(state, record)
    if (first.is === "unknown") return is("unknown", { why: first.why, hint: first.hint })
    if (first.is === "alive" && !first.mend && record.state === "running") return is("alive")
    const { postStop } = requestOf(record)
    const hooks = !isFinal(record.state) && (postStop === undefined || postStop > record.post_stop_done)
    return is(hooks ? await recoverApart(id, log) : await recoverHere(state, id, log))
  } catch (error) {
    return is("failed", whyOf(error))
  }
}

/**
 * Finishes the VMs of these names or ids whose banger is gone and that are dead: then what they have taken is free, whatever
 * is left of them.
 */
export async function finishNamed(state: State, names: readonly unknown[], log: Log): Promise<void> {
  for (const record of listUnfinished(state.db)) {
    const named = names.includes(record.name) || names.includes(record.id)
    if (named && !isFinal(record.state)) await recover(state, record, log)
  }
}

/** For the process that `recover` starts for a VM with hooks: finishes this one VM, or leaves it running. Throws BUSY when another banger has it. */
export async function recoverOne(state: State, id: string, log: Log): Promise<void> {
  const held = lockVmRecord(state, id, "finish")
  if (held === undefined) throw new Failure("BUSY", `another banger is at ${id}`, { subject: id })
  if (held === "gone") return
  try {
    using host = startPluginHost(prefixed(log, held.record.name))
    await takeOver(host, state, { locked: held, goal: { do: "recover" } })
  } finally {
    held.lock.unlock()
  }
}

/**
 * What became of a VM by the failure that its `__recover` ended with. Only BUSY of the VM itself means that another banger
 * acts on it; a lock or database that is stuck is a failure, which is thrown. Pure.
 */
export function recoveryOf(id: string, failure: Failure | undefined): Recovery["is"] {
  if (failure === undefined) return "recovered"
  if (failure.code === "BUSY" && failure.subject === id) return "busy"
  throw failure
}

// --- internal ---

function isSupervised(state: State, id: string): boolean {
  using holder = lockHolder(vmLayout(state.where, id))
  return holder.is === "held" && holder.doing === "supervise"
}

/** A look without the lock: whoever acts on the answer takes the lock first, and looks again. */
function peekLiveness(state: State, record: VmRecord): { is: "alive" | "dead"; mend: boolean } | Unknown {
  const layout = vmLayout(state.where, record.id)
  const { journal, whole } = recall(record, layout.handles)
  using liveness = livenessOf(record, layout, journal)
  if (liveness.is === "unknown") return liveness
  return { is: liveness.is, mend: !whole || isChanging(journal) }
}

async function recoverHere(state: State, id: string, log: Log): Promise<Recovery["is"]> {
  const held = lockVmRecord(state, id, "finish")
  if (held === undefined) return "busy"
  if (held === "gone") return "recovered"
  try {
    const { is } = await takeOver(noPluginHost(prefixed(log, held.record.name)), state, {
      locked: held,
      goal: { do: "recover" },
    })
    return is === "running" ? "alive" : "recovered"
  } finally {
    held.lock.unlock()
  }
}

/** In a process of its own: one process loads one plugin, and a plugin that blocks or exits takes no other VM with it. */
async function recoverApart(id: string, log: Log): Promise<Recovery["is"]> {
  return recoveryOf(id, await runSelf(["__recover", id], { log }))
}
