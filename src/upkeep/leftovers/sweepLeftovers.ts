import { existsSync } from "node:fs"
import { join } from "node:path"
import { whyOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { openState, ownPlaces, type State } from "../../store/state/open.ts"
import type { Leftover, LeftoverKind, LeftoverRules } from "./leftover.ts"
import { type NotDead, sweepNetwork } from "./network.ts"
import { sweepOrphans } from "./orphans.ts"
import { sweepStrayFiles } from "./strayFiles.ts"

/**
 * Removes what bears banger's mark when neither a record, a live process, a mount in use nor an open file speaks for it.
 * Tells of each thing what became of it, and why. Does nothing without a state database: then nothing is known. Throws a
 * failure when the database cannot be opened.
 */
export function sweepLeftovers(rules: LeftoverRules, log: Log): readonly Leftover[] {
  if (!existsSync(join(ownPlaces().state, "state.db"))) return []
  using state = openState()
  return sweepAll(state, rules, log)
}

// --- internal ---

function sweepAll(state: State, rules: LeftoverRules, log: Log): readonly Leftover[] {
  const leftovers: Leftover[] = []
  let notDead: NotDead | undefined
  const attempt = (kind: LeftoverKind, name: string, work: () => readonly Leftover[]) => {
    try {
      leftovers.push(...work())
    } catch (error) {
      leftovers.push({ kind, name, is: "unknown", ...whyOf(error) })
    }
  }
  attempt("vm", state.where.state, () => {
    const swept = sweepOrphans(state, rules)
    notDead = swept.notDead
    return swept.leftovers
  })
  // Only the VM's other parts may tell whether an interface of it is in use.
  const known = notDead
  if (known !== undefined)
    attempt("network", "the network", () => sweepNetwork(state, { ...rules, notDead: known }, log))
  attempt("temporary", state.where.state, () => sweepStrayFiles(state.where, rules))
  return leftovers
}
