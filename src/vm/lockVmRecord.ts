import { removeDirectory } from "../store/files/removeDirectory.ts"
import { exclusively } from "../store/state/database.ts"
import type { State } from "../store/state/open.ts"
import { type VmLayout, vmLayout } from "../store/state/places.ts"
import { findById, getRecord, type VmRecord } from "../store/state/records.ts"
import { lockVm, type VmLock } from "./lock.ts"

/** A VM that this process has locked, and its record, read after that. */
export interface LockedVm {
  readonly record: VmRecord
  readonly layout: VmLayout
  readonly lock: VmLock
}

/**
 * Locks a VM and reads its record. Undefined when another process has locked it, "gone" when there is no such VM. `inherited` as
 * for `lockVm`.
 */
export function lockVmRecord(
  state: State,
  id: string,
  doing: "supervise" | "finish",
  { inherited }: { readonly inherited?: number | undefined } = {},
): LockedVm | "gone" | undefined {
  const layout = vmLayout(state.where, id)
  if (findById(state.db, id) === undefined) return "gone"
  // createSession inserts the record, then locks the VM: nobody may lock it between the two.
  const lock = exclusively(state.where.state, () => lockVm(layout, doing, inherited))
  if (lock === undefined) return undefined
  try {
    return { record: getRecord(state.db, id), layout, lock }
  } catch (error) {
    const gone = findById(state.db, id) === undefined
    // Another banger removed the VM before it was locked here. Locking has made its directory again.
    if (gone) removeDirectory(layout.dir)
    lock.unlock()
    if (gone) return "gone"
    throw error
  }
}
