import { isFailure, messageOf } from "../base/terms/failure.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { type Recalled, recall } from "../store/state/recall.ts"
import { findRecord, type VmRecord } from "../store/state/records.ts"
import { statusOf, type VmStatus } from "../vm/status.ts"

/** All that is known of a VM. */
export interface Inspected extends VmStatus {
  readonly spec: unknown
  readonly request: unknown
  readonly pluginSha256: string
  readonly bootId: string
  readonly postStop: { readonly begun: number; readonly done: number }
  readonly dir: string
  readonly consoleLog: string
  /** What the host must get back, and what was wrong with the places it is written down in. */
  readonly journal: Recalled | { readonly troubles: readonly string[] }
}

/** Looks at one VM. Nothing is changed. */
export function inspectVm(state: State, reference: string): Inspected {
  const record = findRecord(state.db, reference)
  const layout = vmLayout(state.where, record.id)
  return {
    ...statusOf(state, record),
    spec: parsed(record.spec),
    request: parsed(record.request),
    pluginSha256: record.plugin_sha256,
    bootId: record.boot_id,
    postStop: { begun: record.post_stop_begun, done: record.post_stop_done },
    dir: layout.dir,
    consoleLog: layout.consoleLog,
    journal: journalOf(record, layout.handles),
  }
}

// --- internal ---

function journalOf(record: VmRecord, handles: string): Inspected["journal"] {
  try {
    return recall(record, handles)
  } catch (error) {
    if (isFailure(error)) return { troubles: [messageOf(error)] }
    throw error
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Shown as it is: whoever inspects a VM wants to see just that.
    return text
  }
}
