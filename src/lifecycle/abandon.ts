import type { Exit } from "banger"
import { appendEvent } from "../state/events.ts"
import { vmLayout } from "../state/places.ts"
import { recall } from "../state/recall.ts"
import { changeState, getRecord } from "../state/records.ts"
import { inOneLine } from "../terms/failure.ts"
import { openJournal } from "./journal.ts"
import { releaseAll } from "./release.ts"
import { openState, type State } from "./session.ts"

/**
 * Ends a VM whose supervisor is stuck in a plugin's code, from the journal alone: kills the VMM, releases everything,
 * and makes the record final, with this exit. No hook runs. Returns what there is to say about it.
 */
export function abandon(id: string, exit: Exit, state: State = openState()): readonly string[] {
  const layout = vmLayout(state.where, id)
  const recalled = recall(getRecord(state.db, id), layout.handles)
  const said: string[] = [...recalled.troubles]
  const failures = releaseAll(openJournal(state.db, id, layout.handles, recalled), layout, (text) => said.push(text))
  changeState(state.db, id, "failed", exit)
  appendEvent(layout.events, { event: "state", state: "failed", exit })
  state.db.close()
  const kept = failures.map((failure) => `not released: ${inOneLine(failure)}`)
  return [...said, ...kept, "the VM was killed and cleaned up; its postStop hooks did not run"]
}
