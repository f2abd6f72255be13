import { existsSync } from "node:fs"
import { join } from "node:path"
import { isFailure, reason } from "../../base/terms/failure.ts"
import type { Report } from "../../base/terms/log.ts"
import { openState, ownPlaces, type State } from "../../store/state/open.ts"
import type { Leftover, LeftoverKind, LeftoverRules, Verdict } from "./leftover.ts"
import { sweepNetwork } from "./network.ts"
import { sweepTraces } from "./orphans.ts"
import { sweepStrayFiles } from "./strayFiles.ts"

/**
 * Removes what bears banger's mark and no record speaks for, nor a live process, a mount in use or an open file. Every
 * thing is told of, with the reason for what became of it. Without a state database nothing is known, and nothing done.
 * Throws a failure when that cannot be opened.
 */
export function sweepUnrecorded(rules: LeftoverRules, report: Report): readonly Leftover[] {
  if (!existsSync(join(ownPlaces().state, "state.db"))) return []
  const state = openState()
  try {
    return sweepAll(state, rules, report)
  } finally {
    state.db.close()
  }
}

/** Whether somebody must know of it. */
export function isTroublesome({ is }: Pick<Leftover, "is">): boolean {
  return is === "cannot tell" || is === "failed"
}

// --- internal ---

function sweepAll(state: State, rules: LeftoverRules, report: Report): readonly Leftover[] {
  const leftovers: Leftover[] = []
  let spoken: ReadonlyMap<string, Verdict> | undefined
  const attempt = (kind: LeftoverKind, name: string, work: () => readonly Leftover[]) => {
    try {
      leftovers.push(...work())
    } catch (error) {
      const hint = isFailure(error) ? error.hint : undefined
      leftovers.push({ kind, name, is: "cannot tell", why: reason(error), hint })
    }
  }
  attempt("vm", state.where.state, () => {
    const swept = sweepTraces(state, rules)
    spoken = swept.spoken
    return swept.leftovers
  })
  // Whose a VM's interface is may be known by its other traces alone.
  const known = spoken
  if (known !== undefined) attempt("network", "the network", () => sweepNetwork(state, rules, known, report))
  attempt("temporary", state.where.state, () => sweepStrayFiles(state.where, rules))
  return leftovers
}
