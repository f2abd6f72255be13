import { removeDirectory } from "../store/files/removeDirectory.ts"
import { exclusively } from "../store/state/database.ts"
import type { State } from "../store/state/open.ts"
import { type VmLayout, vmLayout } from "../store/state/places.ts"
import { findById, getRecord, type VmRecord } from "../store/state/records.ts"
import { lockVm, type VmLock } from "./lock.ts"

/** A VM whose lock this process has, and its record as it was read under it. */
export interface LockedVm {
  readonly record: VmRecord
  readonly layout: VmLayout
  readonly lock: VmLock
}

/** Takes a VM's lock and reads its record; undefined when another process has the lock, "gone" when there is no such VM. */
export function lockVmRecord(state: State, id: string, doing: "supervise" | "finish"): LockedVm | "gone" | undefined {
  const layout = vmLayout(state.where, id)
  if (findById(state.db, id) === undefined) return "gone"
  // A VM that is being made has its record a moment before its lock: nobody must come between the two.
  const lock = exclusively(state.where.state, () => lockVm(layout, doing))
  if (lock === undefined) return undefined
  try {
    return { record: getRecord(state.db, id), layout, lock }
  } catch (error) {
    const gone = findById(state.db, id) === undefined
    // Somebody removed it between the two looks; its directory, made anew for the lock, is of nobody.
    if (gone) removeDirectory(layout.dir)
    lock.unlock()
    if (gone) return "gone"
    throw error
  }
}
