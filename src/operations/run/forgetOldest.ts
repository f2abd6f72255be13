import { removeDirectory } from "../../store/files/removeDirectory.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { deleteRecord, listOldest, type VmRecord } from "../../store/state/records.ts"
import { lockVm } from "../../vm/lock.ts"

/** So many VMs that have ended are remembered, with their logs. */
const REMEMBERED_COUNT = 50

/**
 * Forgets the VMs that ended first and hold nothing any more, so that runs do not pile up: never the one with the id
 * `current`, and none that another banger has in its hands.
 */
export function forgetOldest(state: State, current: string, remembered: number = REMEMBERED_COUNT): void {
  for (const record of listOldest(state.db, remembered)) if (record.id !== current) forget(state, record)
}

// --- internal ---

function forget(state: State, { id }: VmRecord): void {
  const layout = vmLayout(state.where, id)
  const lock = lockVm(layout, "finish")
  if (lock === undefined) return
  try {
    removeDirectory(layout.dir)
    deleteRecord(state.db, id)
  } finally {
    lock.unlock()
  }
}
