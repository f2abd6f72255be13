import { mkdirSync } from "node:fs"
import { close } from "../linux/files.ts"
import { takeLock } from "../state/lock.ts"
import { vmLayout } from "../state/places.ts"
import { deleteRecord, listRecords, mirroredJournal, type VmRecord } from "../state/records.ts"
import { isFinal } from "../state/vmState.ts"
import { removeDirectory } from "./removeDirectory.ts"
import type { State } from "./session.ts"

/** So many VMs that have ended are remembered, with their logs. */
const REMEMBERED = 50

/**
 * Forgets the VMs that ended first and hold nothing any more, so that runs do not pile up: never the one with the id
 * `current`, and none that another banger has in its hands.
 */
export function forgetOldest(state: State, current: string, remembered: number = REMEMBERED): void {
  const ended = listRecords(state.db).filter(hasEnded)
  const latestFirst = ended.toSorted((a, b) => b.updated_at - a.updated_at)
  for (const record of latestFirst.slice(remembered)) if (record.id !== current) forget(state, record)
}

// --- internal ---

function hasEnded(record: VmRecord): boolean {
  return isFinal(record.state) && mirroredJournal(record)?.length === 0
}

function forget(state: State, { id }: VmRecord): void {
  const layout = vmLayout(state.where, id)
  // One whose directory is gone was forgotten halfway.
  mkdirSync(layout.dir, { recursive: true, mode: 0o700 })
  const lock = takeLock(layout.lock)
  if (lock === undefined) return
  try {
    removeDirectory(layout.dir)
    deleteRecord(state.db, id)
  } finally {
    close(lock)
  }
}
