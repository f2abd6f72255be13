import { existsSync } from "node:fs"
import { join } from "node:path"
import { isFailure, messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { openState, ownPlaces, type State } from "../../store/state/open.ts"
import type { Leftover, LeftoverKind, LeftoverRules, Verdict } from "./leftover.ts"
import { sweepNetwork } from "./network.ts"
import { sweepOrphans } from "./orphans.ts"
import { sweepStrayFiles } from "./strayFiles.ts"

/**
 * Removes what bears banger's mark and no record speaks for, nor a live process, a mount in use or an open file. Every
 * thing is told of, with the reason for what became of it. Without a state database nothing is known, and nothing done.
 * Throws a failure when that cannot be opened.
 */
export function sweepLeftovers(rules: LeftoverRules, log: Log): readonly Leftover[] {
  if (!existsSync(join(ownPlaces().state, "state.db"))) return []
  using state = openState()
  return sweepAll(state, rules, log)
}

/** Whether somebody must know of it. */
export function isTroublesome({ is }: Pick<Leftover, "is">): boolean {
  return is === "unknown" || is === "failed"
}

// --- internal ---

function sweepAll(state: State, rules: LeftoverRules, log: Log): readonly Leftover[] {
  const leftovers: Leftover[] = []
  let spoken: ReadonlyMap<string, Verdict> | undefined
  const attempt = (kind: LeftoverKind, name: string, work: () => readonly Leftover[]) => {
    try {
      leftovers.push(...work())
    } catch (error) {
      const hint = isFailure(error) ? error.hint : undefined
      leftovers.push({ kind, name, is: "unknown", why: messageOf(error), hint })
    }
  }
  attempt("vm", state.where.state, () => {
    const swept = sweepOrphans(state, rules)
    spoken = swept.spoken
    return swept.leftovers
  })
  // Whose a VM's interface is may be known by its other traces alone.
  const known = spoken
  if (known !== undefined) attempt("network", "the network", () => sweepNetwork(state, rules, known, log))
  attempt("temporary", state.where.state, () => sweepStrayFiles(state.where, rules))
  return leftovers
}
