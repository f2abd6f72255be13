import { isFailure, messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { ownerOf, tableName } from "../../host/network/names.ts"
import { hasNft, listOwnTables } from "../../host/network/nft.ts"
import { needsRules } from "../../host/network/rules.ts"
import { listLeases } from "../../store/state/leases.ts"
import type { State } from "../../store/state/open.ts"
import type { Leftover, LeftoverRules, Verdict } from "./leftover.ts"
import { type NetworkFinding, reapplyRules, removeUnrecorded, unrecordedNetwork } from "./networkLeftovers.ts"

/**
 * Removes interfaces, leases and rules that no VM has, but not those of a VM that `spoken` tells of; and brings back the
 * rules that VMs need, when somebody flushed them.
 */
export function sweepNetwork(
  state: State,
  { dryRun }: LeftoverRules,
  spoken: ReadonlyMap<string, Verdict>,
  log: Log,
): readonly Leftover[] {
  // Without root there are none.
  if (process.geteuid?.() !== 0) return []
  const found = unrecordedNetwork(state).map((finding) => sweepOne(state, finding, dryRun, spoken))
  if (!dryRun && lackRules(state) && reapplyRules(state))
    log.warn("the rules of this banger's networks were gone; they are there again")
  return found
}

// --- internal ---

function sweepOne(
  state: State,
  finding: NetworkFinding,
  dryRun: boolean,
  spoken: ReadonlyMap<string, Verdict>,
): Leftover {
  const { kind, name, vm } = finding
  const told = (is: Leftover["is"], why: string, hint?: string) => ({ kind, name, vm, is, why, hint })
  const speaker = vm === undefined ? undefined : spoken.get(vm)
  if (finding.verdict === "remove" && speaker !== undefined) return told(speaker.is, speaker.why, speaker.hint)
  if (finding.verdict !== "remove") return told(finding.verdict === "keep" ? "kept" : "unknown", finding.reason)
  if (dryRun) return told("dead", finding.reason)
  try {
    const { verdict, reason: why } = removeUnrecorded(state, finding)
    return told(verdict === "remove" ? "removed" : verdict === "keep" ? "kept" : "unknown", why)
  } catch (error) {
    return told("failed", messageOf(error), isFailure(error) ? error.hint : undefined)
  }
}

function lackRules({ db, where }: State): boolean {
  if (!listLeases(db).some(needsRules)) return false
  return hasNft() && !listOwnTables().includes(tableName(ownerOf(where.state)))
}
