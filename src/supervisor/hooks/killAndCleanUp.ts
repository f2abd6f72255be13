import type { Exit } from "banger"
import { inOneLine } from "../../base/terms/failure.ts"
import { appendEvent } from "../../store/state/events.ts"
import { openState, type State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { recall } from "../../store/state/recall.ts"
import { changeState, getRecord } from "../../store/state/records.ts"
import { openJournal } from "../../vm/journal.ts"
import { releaseAll } from "../../vm/release.ts"

/**
 * Ends a VM whose supervisor is stuck in a plugin's code, from the journal alone: kills the VMM, releases everything,
 * and makes the record final, with this exit. No hook runs. Returns what there is to say about it.
 */
export function killAndCleanUp(
  id: string,
  exit: Exit,
  state: State = openState({ newer: "used", toEnd: true }),
): readonly string[] {
  const layout = vmLayout(state.where, id)
  const recalled = recall(getRecord(state.db, id), layout.handles)
  const said: string[] = [...recalled.troubles]
  const failures = releaseAll(openJournal(state.db, layout, recalled), layout, (text) => said.push(text))
  changeState(state.db, id, { to: "failed", exit })
  appendEvent(layout.events, { event: "state", state: "failed", exit })
  state.db.close()
  const kept = failures.map((failure) => `not released: ${inOneLine(failure)}`)
  return [...said, ...kept, "the VM was killed and cleaned up; its postStop hooks did not run"]
}
