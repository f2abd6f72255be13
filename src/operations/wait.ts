import type { Exit } from "banger"
import * as v from "valibot"
import { Failure, failureJson } from "../base/terms/failure.ts"
import { failureSchema } from "../base/terms/failureSchema.ts"
import type { Log } from "../base/terms/log.ts"
import { formatDuration } from "../base/terms/quantity.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { recall } from "../store/state/recall.ts"
import { findRecord, getRecord, type VmRecord } from "../store/state/records.ts"
import { exitSchema, isFinal } from "../store/state/vmState.ts"
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

/** How a VM's end is waited for. */
export interface WaitOptions {
  readonly log: Log
  /** The most milliseconds to wait; undefined: to the end. */
  readonly timeout?: number | undefined
  /** Aborted when nobody would read how it ended. */
  readonly unread: AbortSignal
}

/**
 * Waits for a VM's end and returns its record, which is final then. One without a supervisor is waited for by its
 * process, and finished when that has ended. Throws TIMED_OUT when it still runs after `timeout`; nothing of it is touched. Undefined when
 * nobody reads any more.
 */
export async function waitVm(
  state: State,
  reference: string,
  { log, timeout, unread }: WaitOptions,
): Promise<VmRecord | undefined> {
  const { id, name } = findRecord(state.db, reference)
  const layout = vmLayout(state.where, id)
  const over = timeout === undefined ? unread : AbortSignal.any([unread, AbortSignal.timeout(timeout)])
  for (;;) {
    const record = getRecord(state.db, id)
    if (isFinal(record.state)) return record
    if (unread.aborted) return undefined
    if (over.aborted) {
      const hint = `to stop it: banger stop ${id}; to wait to its end: banger wait ${id}`
      const waited = formatDuration(timeout ?? 0)
      throw new Failure("TIMED_OUT", `${name} (${id}) still runs after ${waited}`, { hint, subject: id })
    }
    using holder = lockHolder(layout)
    if (holder.is === "held") refuseSelfWait(holder.process, record)
    else await finishEnded(state, record, { log, over })
    await awaitChange(layout, over)
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
  const failure = failureOfRecord(record)
  if (failure === undefined) return { id, name, state: "stopped", exit }
  return { id, name, state: "failed", exit, ...failureJson(failure) }
}

/** The failure of a VM that has ended, by its record; undefined when it ended well. */
export function failureOfRecord(record: VmRecord): Failure | undefined {
  if (record.state === "stopped") return undefined
  const { id, name } = record
  const exit = exitOfRecord(record)
  const code = exit?.reason === "failed to start" ? "START_FAILED" : "VM_FAILED"
  const message = `${name} (${id}) has failed${exit === null ? "" : `: ${exitText(exit)}`}`
  return new Failure(code, message, { subject: id, exit: exit?.guestStatus || undefined })
}

// --- internal ---

/** Waits for the process of a VM without a supervisor, then finishes the VM; returns as well when `over` is aborted first. */
async function finishEnded(
  state: State,
  record: VmRecord,
  { log, over }: { readonly log: Log; readonly over: AbortSignal },
): Promise<void> {
  const layout = vmLayout(state.where, record.id)
  using liveness = livenessOf(record, layout, recall(record, layout.handles).journal)
  if (liveness.is === "unknown") throw livenessUnknown(record, liveness)
  if (liveness.is === "alive") {
    // Whoever waits for a process holds it: where the time is up first, until this program ends.
    const process = liveness.process.move()
    await Promise.race([process.exited(), aborted(over)])
    if (over.aborted) return
    process[Symbol.dispose]()
  }
  const { recover } = await import("../supervisor/recover.ts")
  const { is, why, hint } = await recover(state, record, log)
  const subject = record.id
  if (is === "unknown" || is === "failed")
    throw new Failure(
      is === "unknown" ? "LIVENESS_UNKNOWN" : "NOT_RELEASED",
      why ?? `${subject} could not be finished`,
      {
        ...{ hint, subject },
      },
    )
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }))
}
