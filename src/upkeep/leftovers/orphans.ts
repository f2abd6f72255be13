import { O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { openAt, tryFlock, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { whyOf } from "../../base/terms/failure.ts"
import { processesUsing } from "../../host/search/processesUsing.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { findById } from "../../store/state/records.ts"
import { findOrphans, type Orphan } from "./findOrphans.ts"
import { hasParts, judgeAlone, ownPartOf, usageQueryOf } from "./judge.ts"
import type { Leftover, LeftoverRules, Verdict } from "./leftover.ts"
import { listParts, removeOrphan } from "./removeOrphans.ts"

/** What became of the VMs without a record, and which of them are not dead, by id, with the verdict on each. */
export interface OrphanSweep {
  readonly leftovers: readonly Leftover[]
  readonly notDead: ReadonlyMap<string, Verdict>
}

/**
 * Removes what VMs without a record left: jails, cgroups, runtime directories, uids, their directories. All parts of a VM
 * stay when anything speaks for one of them.
 */
export function sweepOrphans(state: State, rules: LeftoverRules): OrphanSweep {
  const { where } = state
  const leftovers: Leftover[] = []
  const notDead = new Map<string, Verdict>()
  const keep = (orphan: Orphan, verdict: Verdict) => {
    notDead.set(orphan.id, verdict)
    leftovers.push(...told(state, orphan, verdict))
  }
  const suspects: Orphan[] = []
  for (const orphan of findOrphans(state)) {
    const part = orUnknown(() => ownPartOf(orphan, where, rules.grace))
    if ("is" in part) keep(orphan, part)
    else {
      const { own, others, alive } = part
      leftovers.push(...others)
      const verdict = alive ?? (hasParts(own) ? judgeUnderLock(state, own, rules) : undefined)
      if (verdict !== undefined) keep(own, verdict)
      else if (hasParts(own)) suspects.push(own)
    }
  }
  for (let at = 0; at < suspects.length; at += BATCH_COUNT) {
    const some = suspects.slice(at, at + BATCH_COUNT)
    const users = orUnknown(() => processesUsing(some.map((orphan) => usageQueryOf(orphan, where))))
    for (const orphan of some) {
      const verdict = "is" in users ? users : judgeUse(users.get(orphan.id))
      if (verdict !== undefined) keep(orphan, verdict)
      else if (rules.dryRun) leftovers.push(...told(state, orphan, DEAD))
      else {
        const done = removeUnderLock(state, orphan, rules)
        if ("is" in done) keep(orphan, done)
        else leftovers.push(...done)
      }
    }
  }
  return { leftovers, notDead }
}

// --- internal ---

/** One search among all processes is for so many orphans, which are removed right after it. */
const BATCH_COUNT = 64

const DEAD = { is: "dead", why: "no VM has it, and no process uses it" } as const

const BUSY = { is: "kept", why: "another banger has locked the VM" } as const

function told(state: State, orphan: Orphan, verdict: Verdict): readonly Leftover[] {
  return listParts(orphan, state).map(({ kind, name }) => ({ kind, name, vm: orphan.id, ...verdict }))
}

function judgeUse(how: string | undefined): Verdict | undefined {
  return how === undefined ? undefined : { is: "alive", why: how }
}

/** What cannot be read is unknown, and stays. */
function orUnknown<T>(work: () => T): T | Verdict {
  try {
    return work()
  } catch (error) {
    return { is: "unknown", ...whyOf(error) }
  }
}

function judgeUnderLock(state: State, orphan: Orphan, { grace }: LeftoverRules): Verdict | undefined {
  return orUnknown(() => underLock(state, orphan, () => judgeAlone(orphan, state.where, grace)))
}

/** Judges once more: the lock was not held since the first verdict, and is held for the removal. */
function removeUnderLock(state: State, orphan: Orphan, { grace }: LeftoverRules): readonly Leftover[] | Verdict {
  return orUnknown(() =>
    underLock(state, orphan, () => judgeAlone(orphan, state.where, grace) ?? removeOrphan(orphan, state, DEAD.why)),
  )
}

/**
 * Runs `work` while this process holds the VM's lock. A lock that does not exist is not made: without a record, only a
 * banger that had the lock before works on the VM. Whoever waits for the lock finds the record gone.
 */
function underLock<T>(state: State, { id }: Orphan, work: () => T): T | Verdict {
  const fd = openLock(vmLayout(state.where, id).lock)
  if (fd === undefined) return work()
  return withDescriptor(fd, () => {
    if (!tryFlock(fd)) return BUSY
    return findById(state.db, id) === undefined ? work() : { is: "kept", why: "it has a record" }
  })
}

function openLock(path: string): number | undefined {
  return unlessAbsent(() => openAt(AT_FDCWD, path, O.RDWR | O_NOFOLLOW | O.NONBLOCK))
}
