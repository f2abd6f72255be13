import { Failure } from "../base/terms/failure.ts"
import type { State } from "../store/state/open.ts"
import type { Leftover } from "../upkeep/leftovers/leftover.ts"
import { findNetworkLeftovers, reapplyRules, removeNetworkLeftover } from "../upkeep/leftovers/networkLeftovers.ts"

/** What of the network is to be removed. */
export interface NetworkRemoval {
  /** Only this interface, table or lease; everything that no VM needs any more when it is undefined. */
  readonly name: string | undefined
  /** Whether it is only looked what would be removed. */
  readonly dryRun: boolean
}

/**
 * Removes what no VM needs any more of the network, and puts this banger's rules back where somebody has flushed them.
 * Returns what was found, and what became of it. Throws WRONG_STATE when nothing left behind has the name.
 */
export function removeNetwork(state: State, { name, dryRun }: NetworkRemoval): readonly Leftover[] {
  const found = findNetworkLeftovers(state).filter((leftover) => name === undefined || leftover.name === name)
  if (name !== undefined && found.length === 0) {
    const hint = "banger net ls shows what there is, and whose; a VM's goes with it: banger rm"
    throw new Failure("WRONG_STATE", `${name} is nothing that banger left behind`, { hint, subject: name })
  }
  if (dryRun) return found
  const done = found.map((leftover) => (leftover.is === "dead" ? removeNetworkLeftover(state, leftover) : leftover))
  reapplyRules(state)
  return done
}
