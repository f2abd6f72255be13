import { vmLayout } from "../state/places.ts"
import { deleteRecord, listRecords, mirroredJournal } from "../state/records.ts"
import { isFinal } from "../state/vmState.ts"
import { removeDirectory } from "./removeDirectory.ts"
import type { State } from "./session.ts"

/** So many VMs that have ended are remembered, with their logs. */
const REMEMBERED = 50

/** Forgets the oldest VMs that have ended and hold nothing any more, so that runs do not pile up. */
export function forgetOldest(state: State, remembered: number = REMEMBERED): void {
  const ended = listRecords(state.db).filter((record) => isFinal(record.state) && mirroredJournal(record)?.length === 0)
  for (const record of ended.slice(remembered)) {
    removeDirectory(vmLayout(state.where, record.id).dir)
    deleteRecord(state.db, record.id)
  }
}
