import { messageOf, whyOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { portTableName, rulesCover } from "../../host/bridge/portRules.ts"
import { ownerOf, tableName } from "../../host/network/names.ts"
import { hasNft, listOwnTables, tableText } from "../../host/network/nft.ts"
import type { NetworkFault } from "../../host/network/repair.ts"
import { needsRules } from "../../host/network/rules.ts"
import { listBridgeLeases } from "../../store/state/bridgeLeases.ts"
import { listLeases } from "../../store/state/leases.ts"
import type { State } from "../../store/state/open.ts"
import { networkFaultsOf } from "../../vm/status.ts"
import type { Leftover, LeftoverRules, Verdict } from "./leftover.ts"
import { findNetworkLeftovers, reapplyRules, removeNetworkLeftover } from "./networkLeftovers.ts"

/** Which VMs without a record are not dead, by id, and what speaks for each. */
export type NotDead = ReadonlyMap<string, Verdict>

/**
 * Removes interfaces, leases and rules that no VM has, but not those of a VM in `notDead`; and restores the rules that VMs
 * need, when somebody flushed them.
 */
export function sweepNetwork(
  state: State,
  { dryRun, notDead }: LeftoverRules & { readonly notDead: NotDead },
  log: Log,
): readonly Leftover[] {
  // Only root has made any.
  if (process.geteuid?.() !== 0) return []
  const found = findNetworkLeftovers(state).map((leftover) => {
    const verdict = leftover.vm === undefined ? undefined : notDead.get(leftover.vm)
    if (leftover.is !== "dead") return leftover
    if (verdict !== undefined) return { ...leftover, ...verdict }
    return dryRun ? leftover : remove(state, leftover)
  })
  const faults = faultsOf(state, log)
  if (!dryRun && (lackRules(state) || faults.some(({ restorable }) => restorable)) && reapplyRules(state))
    for (const text of faults.length === 0 ? [RULES_BACK] : sayFaults(faults)) log.warn(text)
  return found
}

// --- internal ---

const RULES_BACK = "the rules of this banger's networks were gone; they are there again"

function faultsOf(state: State, log: Log): readonly NetworkFault[] {
  try {
    return networkFaultsOf(state)
  } catch (error) {
    log.warn(`whether others have changed networks of VMs cannot be told: ${messageOf(error)}`)
    return []
  }
}

function sayFaults(faults: readonly NetworkFault[]): readonly string[] {
  return faults.map(({ vm, what, restorable }) =>
    restorable
      ? `the network of ${vm} is put back: ${what}`
      : `the network of ${vm} is lost: ${what}; banger restart ${vm}`,
  )
}

function remove(state: State, leftover: Leftover): Leftover {
  try {
    return removeNetworkLeftover(state, leftover)
  } catch (error) {
    return { ...leftover, is: "failed", ...whyOf(error) }
  }
}

function lackRules({ db, where }: State): boolean {
  const owner = ownerOf(where.state)
  const ports = listBridgeLeases(db)
  const own = listLeases(db).some(needsRules)
  if ((!own && ports.length === 0) || !hasNft()) return false
  if (own && !listOwnTables().includes(tableName(owner))) return true
  const rules = ports.length === 0 ? "" : tableText(portTableName(owner), "bridge")
  return ports.some((lease) => !rulesCover(rules, lease))
}
