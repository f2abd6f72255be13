import { Failure } from "../../base/terms/failure.ts"
import { executing } from "../../host/search/executing.ts"
import { tailOf } from "../../store/logs/growing.ts"
import type { VmLayout } from "../../store/state/places.ts"

/**
 * The failure of a VMM that ended while it was started, with its last words. On ETXTBSY a VMM of this id, which was not
 * known to live, runs the program in the jail already: the failure names it. `program` is that program's path.
 */
export function endedAtOnce(layout: VmLayout, program: string | undefined, cause: unknown): Failure {
  const words = lastWords(layout)
  const message = `the VMM ended at once: ${words}`
  const busy = program !== undefined && /Text file busy|os error 26\b/.test(words)
  const pids = busy ? executing(program) : []
  if (pids.length === 0) return new Failure("START_FAILED", message, { subject: layout.id, cause })
  const hint = `look at it, and end it if it is a VM that was left behind: kill -9 ${pids.join(" ")}`
  return new Failure("START_FAILED", `${message}\nprocess ${pids.join(", ")} runs ${program}`, {
    hint,
    subject: layout.id,
    cause,
  })
}

// --- internal ---

function lastWords({ vmmLog, firecrackerLog }: VmLayout): string {
  const words = [vmmLog, firecrackerLog].map((log) => tailOf(log, 2000).trim()).filter((text) => text !== "")
  return words.join("\n") || `it said nothing (see ${vmmLog})`
}
