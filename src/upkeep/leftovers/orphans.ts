import { LOCK, O, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { close, flock, openAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { isFailure, messageOf } from "../../base/terms/failure.ts"
import { processesUsing } from "../../host/search/processesUsing.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { findById } from "../../store/state/records.ts"
import { findTraces, type Orphan } from "./findOrphans.ts"
import { isAnything, judge, ownTraces, premisesOf } from "./judge.ts"
import type { Leftover, LeftoverRules, Verdict } from "./leftover.ts"
import { listTraces, removeOrphan } from "./removeOrphans.ts"

/** What became of what VMs without a record left, and which of these are not dead, with what speaks for them. */
export interface TraceSweep {
  readonly leftovers: readonly Leftover[]
  readonly spoken: ReadonlyMap<string, Verdict>
}

/**
 * Removes what VMs left that have no record: jails, cgroups, runtime directories, uids, their directories. All of one VM's
 * is kept when anything speaks for any of it.
 */
export function sweepOrphans(state: State, rules: LeftoverRules): TraceSweep {
  const { where } = state
  const leftovers: Leftover[] = []
  const spoken = new Map<string, Verdict>()
  const keep = (traces: Orphan, verdict: Verdict) => {
    spoken.set(traces.id, verdict)
    leftovers.push(...told(state, traces, verdict))
  }
  const suspects: Orphan[] = []
  for (const traces of findTraces(state)) {
    const own = telling(() => ownTraces(traces, where, rules.grace))
    if ("is" in own) keep(traces, own)
    else {
      leftovers.push(...own.others)
      const verdict = own.spoken ?? (isAnything(own.traces) ? look(state, own.traces, rules) : undefined)
      if (verdict !== undefined) keep(own.traces, verdict)
      else if (isAnything(own.traces)) suspects.push(own.traces)
    }
  }
  for (let at = 0; at < suspects.length; at += BATCH_COUNT) {
    const some = suspects.slice(at, at + BATCH_COUNT)
    const users = telling(() => processesUsing(some.map((traces) => premisesOf(traces, where))))
    for (const traces of some) {
      const user = "is" in users ? users : used(users.get(traces.id))
      if (user !== undefined) keep(traces, user)
      else if (rules.dryRun) leftovers.push(...told(state, traces, DEAD))
      else leftovers.push(...remove(state, traces, rules, spoken))
    }
  }
  return { leftovers, spoken }
}

// --- internal ---

/** So many are looked for among all processes at once, right before they are removed. */
const BATCH_COUNT = 64

const DEAD = { is: "dead", why: "no VM has it, and no process uses it" } as const

const BUSY = { is: "kept", why: "another banger holds the VM's lock" } as const

function told({ db, where }: State, traces: Orphan, { is, why, hint }: Verdict): readonly Leftover[] {
  return listTraces(traces, db, where).map(({ kind, name }) => ({ kind, name, vm: traces.id, is, why, hint }))
}

function used(how: string | undefined): Verdict | undefined {
  return how === undefined ? undefined : { is: "alive", why: how }
}

/** What cannot be read is no reason to remove anything. */
function telling<T>(work: () => T): T | Verdict {
  try {
    return work()
  } catch (error) {
    return { is: "unknown", why: messageOf(error), hint: isFailure(error) ? error.hint : undefined }
  }
}

function look(state: State, traces: Orphan, { grace }: LeftoverRules): Verdict | undefined {
  return telling(() => underLock(state, traces, () => judge(traces, state.where, grace)))
}

/** Once more, as the look was without the lock, and the removal is not. */
function remove(
  state: State,
  traces: Orphan,
  { grace }: LeftoverRules,
  spoken: Map<string, Verdict>,
): readonly Leftover[] {
  const done = telling(() =>
    underLock(state, traces, () => {
      const verdict = judge(traces, state.where, grace)
      return verdict ?? removeOrphan(traces, state.db, state.where, DEAD.why)
    }),
  )
  if (!("is" in done)) return done
  spoken.set(traces.id, done)
  return told(state, traces, done)
}

/**
 * Runs `work` while this process holds the VM's lock, if it has one: it is not made, since no banger works on a VM without
 * a record but one that had its lock before. Whoever waits for it finds the record gone.
 */
function underLock<T>(state: State, { id }: Orphan, work: () => T): T | Verdict {
  const fd = openLock(vmLayout(state.where, id).lock)
  if (fd === undefined) return work()
  try {
    flock(fd, LOCK.EX | LOCK.NB)
  } catch (error) {
    close(fd)
    if (errorCode(error) === "EAGAIN") return BUSY
    throw error
  }
  return withDescriptor(fd, () =>
    findById(state.db, id) === undefined ? work() : { is: "kept", why: "it has a record" },
  )
}

function openLock(path: string): number | undefined {
  return unlessAbsent(() => openAt(AT_FDCWD, path, O.RDWR | O_NOFOLLOW | O.NONBLOCK))
}
