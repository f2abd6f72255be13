import { cannotTell, type Holder, holdersOf } from "../process/holders.ts"
import { ELSEWHERE, truthOf } from "../process/identity.ts"
import { ownNamespace } from "../process/procfs.ts"
import type { Resource } from "../state/handles.ts"
import type { VmLayout } from "../state/places.ts"
import { Failure } from "../terms/failure.ts"

/**
 * The VMM that an entry of the journal names, proven to run: mostly one or none. One that was started by a banger that
 * was killed before it wrote its identity down is known by the console it writes to. The caller closes the pidfds.
 * Throws a failure when it cannot be told.
 */
export function runningVmm(entry: Extract<Resource, { kind: "process" }>, layout: VmLayout): readonly Holder[] {
  const { identity, pidNamespace } = entry
  if (identity === null) {
    requireNamespace(pidNamespace, layout)
    return holdersOf(layout.consoleLog)
  }
  const truth = truthOf(identity)
  if (truth.is === "unknown") throw cannotTell(identity.pid, truth.why, { hint: truth.hint })
  return truth.is === "alive" ? [{ pid: identity.pid, pidfd: truth.pidfd }] : []
}

// --- internal ---

function requireNamespace(pidNamespace: string | undefined, { id }: VmLayout): void {
  if (pidNamespace === undefined || pidNamespace === ownNamespace("pid")) return
  throw new Failure(`cannot tell whether ${id} runs: it was started in another PID namespace`, { hint: ELSEWHERE })
}
