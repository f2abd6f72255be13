import { getRecord, notePostStop } from "../../store/state/records.ts"
import type { Session } from "../../vm/session.ts"

/** Which hooks of one kind are done, kept where it outlives this process. */
export interface HookProgress {
  /** How many are done, and are not to be run again. */
  readonly done: number
  /** Whether the hook that is being run was begun before, by a banger that was ended in it. */
  again(): boolean
  begin(index: number): void
  end(index: number): void
}

/**
 * The postStop hooks of a VM on its record, so that each runs once, whoever finishes the VM: only one whose process was
 * ended in the middle of it is run again, and is told so.
 */
export function postStopLedger({ db, id }: Pick<Session, "db" | "id">): HookProgress {
  const { post_stop_begun: begun, post_stop_done: done } = getRecord(db, id)
  let again = false
  const note = (what: "begun" | "done", count: number) => {
    try {
      notePostStop(db, id, { what, count })
    } catch {
      // A full disk must not keep a hook from cleaning up: the VM goes away now. What takes over a VM writes before.
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
