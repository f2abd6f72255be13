import { messageOf } from "../../base/terms/failure.ts"
import { type Log, prefixed } from "../../base/terms/log.ts"
import { noteStop } from "../../store/state/notes.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { recall } from "../../store/state/recall.ts"
import { findById, findRecord, listRecords, listUnfinished, type VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { mayRestart } from "../../supervisor/restartPolicy.ts"
import { supervisorPid } from "../../vm/lock.ts"
import { proveAbsent } from "../../vm/proveAbsent.ts"
import { ownerOf } from "../../vm/request.ts"
import type { StopRequest } from "../../vm/stopRequest.ts"
import { startedAgain } from "./startedAgain.ts"
import { type Stopper, startStopper } from "./stopper.ts"
import { betweenBoots } from "./unended.ts"
import { type Asked, waitForEnd } from "./waitForEnd.ts"

/** How a VM is to be stopped, and who hears of it. */
export interface StopOptions extends StopRequest {
  /** Whether it is stopped for something that passes (the host goes down, another takes its place), not because a user is done with it. */
  readonly passing?: boolean | undefined
  readonly log: Log
  /** Of one of many VMs: what they share. */
  readonly shared?: Stopper | undefined
}

/** A VM that a user means: the one that it was when the user said so, whoever bears its name by now. */
export interface Meant {
  readonly record: VmRecord
  /** Whether it was meant by its name: then so is what a restart policy boots in its place. */
  readonly byName: boolean
}

/** The VM that a user means by a word. Throws as `findRecord` does. */
export function meantBy(state: State, word: string): Meant {
  const record = findRecord(state.db, word)
  return { record, byName: word === record.name }
}

/**
 * Stops a VM and proves that nothing of it is left: through its supervisor, or in its place where that is gone. One that
 * has ended already is fine. Returns its record. Throws a failure when it cannot be told whether it runs, or when
 * something of it could not be removed.
 */
export async function stopVm(
  state: State,
  { record, byName }: Meant,
  { log, shared, passing = false, ...request }: StopOptions,
): Promise<VmRecord> {
  using stopper = startStopper(prefixed(log, record.name), shared)
  const stopped = await stopKnown(stopper, state, record, { request, passing })
  await stopSuccessors(stopper, state, stopped, { request, passing, byName })
  // One that was begun in its place meanwhile has ended too.
  if (!passing) noteUsersStop(state, stopped.record, stopper.log)
  return stopped.record
}

/** A user's stop of all holds for what has ended already, too: nothing is started again by a boot of the host. */
export function noteAllStopped(state: State, log: Log): void {
  for (const record of startedAgain(listRecords(state.db), new Map())) noteUsersStop(state, record, log)
}

/** A VM that has ended, and the process of the supervisor that was told to stop it, if one was. */
export interface Stopped {
  readonly record: VmRecord
  readonly signalledPid: number | undefined
}

/** As `stopVm`, of a VM on record. */
export async function stopKnown(
  stopper: Stopper,
  state: State,
  known: VmRecord,
  { request, signalledPid, passing }: Asked,
): Promise<Stopped> {
  const { id } = known
  const layout = vmLayout(state.where, id)
  const first = findById(state.db, id)
  // Another banger has removed it meanwhile.
  if (first === undefined) return { record: known, signalledPid }
  if (!passing) noteUsersStop(state, first, stopper.log)
  const { journal } = recall(first, layout.handles)
  const { last, signalledPid: told } = await waitForEnd(stopper, state, id, { request, signalledPid, passing })
  if (last !== undefined) proveAbsent(layout, journal)
  return { record: last ?? first, signalledPid: told }
}

/**
 * Stops what came in the place of a VM that has ended: the VM that its supervisor was booting when it was told to stop, and,
 * where the VM was meant by its name, whatever is being booted again under it.
 */
export async function stopSuccessors(
  stopper: Stopper,
  state: State,
  { record, signalledPid }: Stopped,
  { request, passing, byName }: Omit<Asked, "signalledPid"> & { readonly byName: boolean },
): Promise<void> {
  const { id, name } = record
  const isNext = (one: VmRecord) =>
    one.name === name &&
    one.id !== id &&
    // Of another user a VM may have got the name meanwhile.
    ownerOf(one) === ownerOf(record) &&
    ((byName && mayRestart(record) && (!isFinal(one.state) || one.restart_at !== null)) ||
      (signalledPid !== undefined &&
        !isFinal(one.state) &&
        supervisorPid(vmLayout(state.where, one.id)) === signalledPid))
  const again = byName && mayRestart(record) ? betweenBoots(state, name) : undefined
  const next = listUnfinished(state.db, name).find(isNext) ?? again
  if (next === undefined || next.id === id || ownerOf(next) !== ownerOf(record)) return
  // The supervisor's word holds for each VM that it boots: a second signal would mean "at once".
  const stopped = await stopKnown(stopper, state, next, { request, signalledPid, passing })
  await stopSuccessors(stopper, state, stopped, { request, passing, byName })
}

// --- internal ---

/** A user's stop holds from now on, whatever becomes of the VM. */
function noteUsersStop({ db }: State, record: VmRecord, log: Log): void {
  // Notes are by name, and one of root's may have the name at a boot of the host.
  if (ownerOf(record) !== undefined) return
  const { name } = record
  try {
    noteStop(db, name, "stopped")
  } catch (error) {
    // A full disk must not keep a VM from being stopped.
    log.warn(`that it is to stay stopped after a boot of the host was not noted: ${messageOf(error)}`)
  }
}
