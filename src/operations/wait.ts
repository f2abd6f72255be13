import type { Exit } from "banger"
import * as v from "valibot"
import { Failure, failureJson } from "../base/terms/failure.ts"
import { failureSchema } from "../base/terms/failureSchema.ts"
import type { Log } from "../base/terms/log.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { recall } from "../store/state/recall.ts"
import { findRecord, getRecord, type VmRecord } from "../store/state/records.ts"
import { exitSchema, isFinal } from "../store/state/vmState.ts"
import { recover } from "../supervisor/recover.ts"
import { awaitChange } from "../vm/awaitChange.ts"
import { exitText } from "../vm/exit.ts"
import { livenessOf, livenessUnknown } from "../vm/liveness.ts"
import { lockHolder } from "../vm/lock.ts"
import { refuseSelfWait } from "../vm/selfWait.ts"

/** What `banger wait --json` prints. */
export const waitResultSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  state: v.picklist(["stopped", "failed"]),
  /** null: the record does not tell. */
  exit: v.nullable(exitSchema),
  /** For `failed`. */
  error: v.optional(failureSchema),
})

/**
 * Waits for a VM's end and returns its record, which is final then. One without a supervisor is waited for by its
 * process, and finished when that has ended.
 */
export async function waitVm(state: State, reference: string, log: Log): Promise<VmRecord> {
  const { id } = findRecord(state.db, reference)
  const layout = vmLayout(state.where, id)
  const never = new AbortController().signal
  for (;;) {
    const record = getRecord(state.db, id)
    if (isFinal(record.state)) return record
    using holder = lockHolder(layout)
    if (holder.is === "held") refuseSelfWait(holder.process, record)
    else await unsupervised(state, record, log)
    await awaitChange(layout, never)
  }
}

/** How a VM ended, from its record; null where that does not tell. */
export function exitOfRecord({ exit }: VmRecord): Exit | null {
  const parsed: Exit | null = exit === null ? null : JSON.parse(exit)
  return parsed
}

/** A VM that has ended, by its record. */
export function waitResultOf(record: VmRecord): v.InferOutput<typeof waitResultSchema> {
  const { id, name } = record
  const exit = exitOfRecord(record)
  if (record.state === "stopped") return { id, name, state: "stopped", exit }
  const code = exit?.reason === "failed to start" ? "START_FAILED" : "VM_FAILED"
  const failure = new Failure(code, `${name} (${id}) has failed${exit === null ? "" : `: ${exitText(exit)}`}`, {
    subject: id,
  })
  return { id, name, state: "failed", exit, ...failureJson(failure) }
}

// --- internal ---

/** To the end of its VMM, and what is to be done then. */
async function unsupervised(state: State, record: VmRecord, log: Log): Promise<void> {
  const layout = vmLayout(state.where, record.id)
  using truth = livenessOf(record, layout, recall(record, layout.handles).journal)
  if (truth.is === "unknown") throw livenessUnknown(record, truth)
  if (truth.is === "alive") await truth.process.exited()
  const { is, why, hint } = await recover(state, record, log)
  if (is === "unknown" || is === "failed")
    throw new Failure("FAILED", why ?? `${record.id} could not be finished`, { hint })
}
