import { notePostStop } from "../../store/state/notes.ts"
import { getRecord } from "../../store/state/records.ts"
import type { Session } from "../../vm/session.ts"

/** Which hooks of one kind are done, written down where that outlives this process. */
export interface HookProgress {
  /** How many are done: these are not run again. */
  readonly done: number
  /** Whether the hook that runs now was begun before, by a banger that was ended in the middle of it. */
  again(): boolean
  begin(index: number): void
  end(index: number): void
}

/**
 * The postStop hooks of a VM, by its record: each runs once, whoever finishes the VM. Only a hook whose process was ended
 * in the middle of it runs again, and `again` tells it so.
 */
export function postStopProgress({ db, id }: Pick<Session, "db" | "id">): HookProgress {
  const { post_stop_begun: begun, post_stop_done: done } = getRecord(db, id)
  let again = false
  const note = (what: "begun" | "done", count: number) => {
    try {
      notePostStop(db, id, { what, count })
    } catch {
      // A full disk must not keep a hook from cleaning up: the VM goes away now. Taking over a VM writes to its record first.
    }
  }
  return {
    done,
    again: () => again,
    begin(index) {
      again = index < begun
      note("begun", index + 1)
    },
    end: (index) => note("done", index + 1),
  }
}
