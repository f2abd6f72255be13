import { Failure } from "../../base/terms/failure.ts"
import { type Log, prefixed } from "../../base/terms/log.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { removeDirectory } from "../../store/files/removeDirectory.ts"
import { noteStop } from "../../store/state/notes.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { recall } from "../../store/state/recall.ts"
import { deleteRecord, findById, holdsNothing, listRecords, type VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { awaitChange } from "../../vm/awaitChange.ts"
import { openJournal } from "../../vm/journal.ts"
import { livenessOf, livenessUnknown } from "../../vm/liveness.ts"
import { lockHolder } from "../../vm/lock.ts"
import { type LockedVm, lockVmRecord } from "../../vm/lockVmRecord.ts"
import { proveAbsent } from "../../vm/proveAbsent.ts"
import { releaseOrThrow } from "../../vm/release.ts"
import { ownerOf } from "../../vm/request.ts"
import { refuseIfSelfWait } from "../../vm/selfWait.ts"
import { newestThatRan } from "./startedAgain.ts"
import { type Meant, type Stopped, stopKnown, stopSuccessors } from "./stop.ts"
import { type Stopper, startStopper } from "./stopper.ts"

/** How a VM is removed. */
export interface RemoveOptions {
  /** Whether one that still runs is killed first. */
  readonly force: boolean
  readonly log: Log
  /** Of one of many VMs: what they share. */
  readonly shared?: Stopper | undefined
}

/**
 * Removes a VM that has ended: finishes it where its banger was killed, releases what its journal still names, then its
 * logs, then its record. Throws WRONG_STATE for one that still runs, unless `force` is given. Throws when anything could not
 * be proven gone; then the record stays.
 */
export async function removeVm(
  state: State,
  { record: known, byName }: Meant,
  { force, log, shared }: RemoveOptions,
): Promise<VmRecord> {
  const record = findById(state.db, known.id)
  // Another banger has removed it meanwhile.
  if (record === undefined) return known
  using stopper = startStopper(prefixed(log, record.name), shared)
  const stopped = force ? await killFirst(stopper, state, record) : { record, signalledPid: undefined }
  await removeEnded(stopper, state, record, { force })
  if (force) await stopSuccessors(stopper, state, stopped, { request: { action: "kill" }, passing: false, byName })
  // A name is one thing, with all its boots.
  if (byName) for (const boot of endedBefore(state, record)) await removeEnded(stopper, state, boot, { force: false })
  return record
}

// --- internal ---

/** Kills a VM that may run. Where its liveness is unknown (another PID namespace), removing it may still end it by its cgroup. */
async function killFirst(stopper: Stopper, state: State, record: VmRecord): Promise<Stopped> {
  if (!mayBeKilled(state, record)) return { record, signalledPid: undefined }
  return await stopKnown(stopper, state, record, { request: { action: "kill" }, passing: false })
}

/** The earlier boots of a VM: of its name and its owner, ended. */
function endedBefore({ db }: State, record: VmRecord): readonly VmRecord[] {
  const owner = ownerOf(record)
  const isOf = ({ id, name, created_at }: VmRecord) =>
    name === record.name && id !== record.id && created_at <= record.created_at
  return listRecords(db).filter((one) => isOf(one) && ownerOf(one) === owner && isFinal(one.state))
}

function mayBeKilled(state: State, record: VmRecord): boolean {
  if (isFinal(record.state)) return record.restart_at !== null
  const layout = vmLayout(state.where, record.id)
  using liveness = livenessOf(record, layout, recall(record, layout.handles).journal)
  return liveness.is !== "unknown" || isLocked(state, record.id)
}

async function removeEnded(
  stopper: Stopper,
  state: State,
  { id, name }: VmRecord,
  { force }: Pick<RemoveOptions, "force">,
): Promise<void> {
  const locked = await lockEnded(stopper, state, { id, name })
  // Somebody else has removed it: it is gone, as asked.
  if (locked === "gone") return
  try {
    if (!holdsNothing(locked.record) && (await end(stopper, state, locked, { force })) === "removed") return
    noteRemoved(state, locked.record)
    removeDirectory(locked.layout.dir)
    deleteRecord(state.db, id)
  } finally {
    locked.lock.unlock()
  }
}

/** Without it an older one of its name would be the newest, and started again by a boot of the host. */
function noteRemoved({ db }: State, removed: VmRecord): void {
  if (ownerOf(removed) !== undefined) return
  const { id, name } = removed
  const named = listRecords(db).filter((record) => record.name === name && ownerOf(record) === undefined)
  if (named.length > 1 && newestThatRan(named).some((record) => record.id === id)) noteStop(db, name, "removed")
}

/** A supervisor whose VM has ended has this long, in milliseconds, to unlock it. */
const LOCK_WAIT_MS = 10_000

/** Locks a VM that has ended. Throws a failure when another banger has it for longer than it takes to finish one. */
async function lockEnded(
  { interrupts }: Stopper,
  state: State,
  { id, name }: Pick<VmRecord, "id" | "name">,
): Promise<LockedVm | "gone"> {
  const layout = vmLayout(state.where, id)
  const deadline = performance.now() + LOCK_WAIT_MS
  const hint = `stop it first: banger stop ${id}; or kill and remove it: banger rm -f ${id}`
  for (;;) {
    const locked = lockVmRecord(state, id, "finish")
    if (locked !== undefined) return locked
    const record = findById(state.db, id)
    if (record === undefined) return "gone"
    refuseIfSelfWait(layout, record)
    const held = `${name} (${id}) is in the hands of another banger`
    const exit = interrupts.exitCode()
    if (interrupts.stop.aborted) throw new Failure("INTERRUPTED", `interrupted: ${held}`, { exit, subject: id })
    if (!isFinal(record.state) || record.restart_at !== null) {
      const still = record.restart_at !== null ? "is about to be started again" : `has not ended: it is ${record.state}`
      throw new Failure("WRONG_STATE", `${name} (${id}) ${still}`, { hint, subject: id })
    }
    if (performance.now() >= deadline) {
      const waited = formatDuration(LOCK_WAIT_MS)
      throw new Failure("TIMED_OUT", `${held}, which did not unlock it in ${waited}`, { hint, subject: id })
    }
    await awaitChange(layout, interrupts.stop)
  }
}

/** Finishes what is dead, and ends by force what is not known to be. "removed": another banger has done all of it. */
async function end(
  stopper: Stopper,
  state: State,
  locked: LockedVm,
  { force }: Pick<RemoveOptions, "force">,
): Promise<"released" | "removed"> {
  const { log } = stopper
  const { record, layout } = locked
  const { id, name } = record
  const recalled = recall(record, layout.handles)
  using liveness = livenessOf(record, layout, recalled.journal)
  if (liveness.is === "alive" && !force) {
    const hint = `to stop it: banger stop ${id}; to kill and remove it: banger rm -f ${id}`
    const message = `${name} (${id}) still runs as process ${liveness.process.pid}`
    throw new Failure("WRONG_STATE", message, { hint, subject: id })
  }
  if (liveness.is === "unknown" && !force) throw livenessUnknown(record, liveness)
  if (liveness.is === "dead" && !isFinal(record.state) && stopper.among !== undefined) {
    locked.lock.unlock()
    await stopper.among.apart(id)
    return "removed"
  }
  if (liveness.is === "dead" && !isFinal(record.state)) {
    const { takeOver } = await import("../../supervisor/takeOver.ts")
    await takeOver(await stopper.pluginHost(), state, { locked, goal: { do: "recover" } })
  } else {
    const journal = openJournal(state.db, layout, recalled)
    if (!isFinal(record.state)) log.warn("it is ended without its hooks")
    releaseOrThrow(journal, layout, log.warn)
  }
  proveAbsent(layout, recalled.journal)
  return "released"
}

function isLocked(state: State, id: string): boolean {
  using holder = lockHolder(vmLayout(state.where, id))
  return holder.is !== "free"
}
