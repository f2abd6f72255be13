import type { State } from "../../store/state/open.ts"
import { type VmLayout, vmLayout } from "../../store/state/places.ts"
import { findNewest, listRecords, listUnfinished, type VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { mayRestart } from "../../supervisor/restartPolicy.ts"
import { lockHolder } from "../../vm/lock.ts"

/**
 * The VMs that run, hold something, or may be booted again by who supervises them; newest first. One that has just ended is among
 * them as long as its supervisor has it locked, also before it notes that it boots it again.
 */
export function listUnended(state: State): readonly VmRecord[] {
  const unfinished = listUnfinished(state.db)
  const told = new Set(unfinished.filter((one) => !isFinal(one.state)).map((one) => one.name))
  const names = new Set(
    listRecords(state.db)
      .filter(mayRestart)
      .map((one) => one.name),
  )
  const between = [...names].filter((name) => !told.has(name)).flatMap((name) => betweenBoots(state, name) ?? [])
  const ids = new Set(unfinished.map(({ id }) => id))
  return [...unfinished, ...between.filter(({ id }) => !ids.has(id))]
}

/**
 * The newest VM of a name, unless that has ended for good. A supervisor unlocks what has ended when there is a record of the
 * next: then that one is looked at. Where nobody can tell who has it, it counts as one that may come again.
 */
export function betweenBoots(state: State, name: string): VmRecord | undefined {
  for (let newest = findNewest(state.db, name); newest !== undefined; ) {
    if (!isFinal(newest.state) || newest.restart_at !== null) return newest
    if (mayRestart(newest) && mayBeSupervised(vmLayout(state.where, newest.id))) return newest
    const next = findNewest(state.db, name)
    if (next?.id === newest.id) return undefined
    newest = next
  }
  return undefined
}

// --- internal ---

function mayBeSupervised(layout: VmLayout): boolean {
  using holder = lockHolder(layout)
  return holder.is === "unknown" || (holder.is === "held" && holder.doing === "supervise")
}
