import type { Exit } from "banger"
import { close } from "../linux/files.ts"
import { awaitExit } from "../process/awaitExit.ts"
import { vmLayout } from "../state/places.ts"
import { recall } from "../state/recall.ts"
import { findRecord, getRecord, type VmRecord } from "../state/records.ts"
import { isFinal } from "../state/vmState.ts"
import { Failure } from "../terms/failure.ts"
import { awaitChange } from "./awaitChange.ts"
import { refuseOwn } from "./ownVm.ts"
import { recover } from "./recover.ts"
import type { Report } from "./report.ts"
import type { State } from "./session.ts"
import { truthOfVm, undecided } from "./truth.ts"
import { lockHolder } from "./vmLock.ts"

/**
 * Waits for a VM's end and returns its record, which is final then. One without a supervisor is waited for by its
 * process, and finished when that has ended.
 */
export async function waitVm(state: State, reference: string, report: Report): Promise<VmRecord> {
  const { id } = findRecord(state.db, reference)
  const layout = vmLayout(state.where, id)
  const never = new AbortController().signal
  for (;;) {
    const record = getRecord(state.db, id)
    if (isFinal(record.state)) return record
    const holder = lockHolder(layout)
    if (typeof holder === "object") {
      close(holder.pidfd)
      refuseOwn(holder, record)
    } else await unsupervised(state, record, report)
    await awaitChange(layout, never)
  }
}

/** How a VM ended, from its record; null where that does not tell. */
export function exitOfRecord({ exit }: VmRecord): Exit | null {
  const parsed: Exit | null = exit === null ? null : JSON.parse(exit)
  return parsed
}

// --- internal ---

/** To the end of its VMM, and what is to be done then. */
async function unsupervised(state: State, record: VmRecord, report: Report): Promise<void> {
  const layout = vmLayout(state.where, record.id)
  const truth = truthOfVm(record, layout, recall(record, layout.handles).journal)
  if (truth.is === "cannot tell") throw undecided(record, truth)
  if (truth.is === "alive") {
    await awaitExit(truth.pidfd)
    close(truth.pidfd)
  }
  const { is, why, hint } = await recover(state, record, report)
  if (is === "cannot tell" || is === "failed") throw new Failure(why ?? `${record.id} could not be finished`, { hint })
}
