import { messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { noteStop } from "../../store/state/notes.ts"
import type { State } from "../../store/state/open.ts"
import type { Interrupts } from "../../supervisor/hooks/interrupts.ts"

/**
 * Takes the stop of a VM by the keyboard of its supervisor (SIGINT, SIGQUIT) for its user's. Any other signal that ends a supervisor may
 * as well come from a host, a session or a manager that goes down: after that the VM runs again, where its plugin says so. Disposed of
 * when the VM has ended, since it may have come to run in between.
 */
export function noteKeyboardStop(
  { stop, exitCode }: Interrupts,
  { db }: State,
  { name, log }: { readonly name: string; readonly log: Pick<Log, "warn"> },
): Disposable {
  const note = () => {
    if (!KEYBOARD.includes(exitCode() ?? 0)) return
    try {
      noteStop(db, name, "stopped")
    } catch (error) {
      // The VM is stopped all the same.
      log.warn(`that ${name} is to stay stopped after a boot of the host was not noted: ${messageOf(error)}`)
    }
  }
  stop.addEventListener("abort", note, { once: true })
  return { [Symbol.dispose]: note }
}

// --- internal ---

/** The exit codes of SIGINT and SIGQUIT. */
const KEYBOARD = [130, 131]
