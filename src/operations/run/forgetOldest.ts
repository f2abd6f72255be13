import { removeDirectory } from "../../store/files/removeDirectory.ts"
import { listStops } from "../../store/state/notes.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { deleteRecord, listOldest, listRecords, type VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { lockVm } from "../../vm/lock.ts"
import { startedAgain } from "../end/startedAgain.ts"

/** So many VMs that have ended are remembered, with their logs. */
const REMEMBERED_COUNT = 50

/**
 * Forgets the VMs of an owner (undefined: all but those that root's helper ran for users) that ended first and hold nothing any more,
 * so that runs do not pile up: never the one with the id
 * `current`, none that a boot of the host is to start again, and none that another banger has in its hands.
 */
export function forgetOldest(
  state: State,
  current: string,
  { owner, remembered = REMEMBERED_COUNT }: { readonly owner?: number | undefined; readonly remembered?: number } = {},
): void {
  const oldest = listOldest(state.db, remembered, owner).filter(({ id }) => id !== current)
  const needed = oldest.some(mayBeStartedAgain) ? neededAfterBoot(state) : new Set()
  for (const record of oldest) if (!needed.has(record.id)) forget(state, record)
}

// --- internal ---

/** To look at all records takes longer. */
const mayBeStartedAgain = ({ spec }: VmRecord) => /"(?:always|unless-stopped)"/.test(spec)

/** Also what one that is starting now takes the place of: that start may be cut short. */
function neededAfterBoot({ db }: State): ReadonlySet<string> {
  const ended = listRecords(db).filter((record) => isFinal(record.state))
  return new Set(startedAgain(ended, listStops(db)).map(({ id }) => id))
}

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
