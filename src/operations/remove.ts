import { Failure, joinFailures } from "../base/terms/failure.ts"
import { type Log, prefixed } from "../base/terms/log.ts"
import { removeDirectory } from "../store/files/removeDirectory.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { recall } from "../store/state/recall.ts"
import { deleteRecord, findById, findRecord, holdsNothing, type VmRecord } from "../store/state/records.ts"
import { isFinal } from "../store/state/vmState.ts"
import { type PluginHost, withPluginHost } from "../supervisor/hooks/pluginHost.ts"
import { takeOver } from "../supervisor/takeOver.ts"
import { awaitChange } from "../vm/awaitChange.ts"
import { openJournal } from "../vm/journal.ts"
import { livenessOf, livenessUnknown } from "../vm/liveness.ts"
import { lockHolder } from "../vm/lock.ts"
import { type LockedVm, lockVmRecord } from "../vm/lockVmRecord.ts"
import { proveAbsent } from "../vm/proveAbsent.ts"
import { releaseAll } from "../vm/release.ts"
import { refuseIfSelfWait } from "../vm/selfWait.ts"
import { stopKnown, stopSuccessors } from "./stop.ts"

/**
 * Removes a VM that has ended: finishes it where its banger was killed, releases what its journal still names, then its
 * logs, then its record. One that still runs is refused unless `force` is given, which kills it. Throws when anything
 * could not be proven gone; then the record stays.
 */
export async function removeVm(state: State, reference: string, force: boolean, log: Log): Promise<VmRecord> {
  const record = findRecord(state.db, reference)
  await withPluginHost(prefixed(log, record.name), async (tools) => {
    if (force && !isFinal(record.state)) await killFirst(state, record, tools)
    else if (force && record.restart_at !== null) await stopKnown(state, record, { action: "kill" }, tools)
    await removeEnded(state, record, force, tools)
    if (force && reference === record.name) await stopSuccessors(state, record, { action: "kill" }, tools)
  })
  return record
}

// --- internal ---

/** What cannot be told of its VMM from here (another PID namespace) may still be ended through its cgroup. */
async function killFirst(state: State, record: VmRecord, tools: PluginHost): Promise<void> {
  const layout = vmLayout(state.where, record.id)
  using truth = livenessOf(record, layout, recall(record, layout.handles).journal)
  if (truth.is !== "unknown" || isHeld(state, record.id)) await stopKnown(state, record, { action: "kill" }, tools)
}

async function removeEnded(state: State, { id, name }: VmRecord, force: boolean, tools: PluginHost): Promise<void> {
  const held = await holdEnded(state, id, tools)
  // Somebody else has removed it: it is gone, as asked.
  if (held === "gone") return
  if (held === undefined) {
    const hint = `stop it first: banger stop ${id}; or kill and remove it: banger rm -f ${id}`
    throw new Failure("FAILED", `${name} (${id}) is in the hands of another banger`, { hint })
  }
  try {
    if (!holdsNothing(held.record)) await end(state, held, force, tools)
    removeDirectory(held.layout.dir)
    deleteRecord(state.db, id)
  } finally {
    held.lock.unlock()
  }
}

/** A supervisor whose VM has ended is about to let go of it. */
const LOCK_WAIT_MS = 10_000

async function holdEnded(
  state: State,
  id: string,
  { interrupts }: PluginHost,
): Promise<ReturnType<typeof lockVmRecord>> {
  const deadline = performance.now() + LOCK_WAIT_MS
  for (;;) {
    const held = lockVmRecord(state, id, "finish")
    if (held !== undefined || interrupts.stop.aborted || performance.now() >= deadline) return held
    const record = findById(state.db, id)
    if (record === undefined) return "gone"
    refuseIfSelfWait(vmLayout(state.where, id), record)
    if (!isFinal(record.state) || record.restart_at !== null) return undefined
    await awaitChange(vmLayout(state.where, id), interrupts.stop)
  }
}

/** Finishes what is dead, and ends by force what is not known to be. */
async function end(state: State, held: LockedVm, force: boolean, tools: PluginHost): Promise<void> {
  const { record, layout } = held
  const recalled = recall(record, layout.handles)
  using truth = livenessOf(record, layout, recalled.journal)
  if (truth.is === "alive" && !force) {
    const hint = `to stop it: banger stop ${record.id}; to kill and remove it: banger rm -f ${record.id}`
    throw new Failure("FAILED", `${record.name} (${record.id}) still runs as process ${truth.process.pid}`, { hint })
  }
  if (truth.is === "unknown" && !force) throw livenessUnknown(record, truth)
  if (truth.is === "dead" && !isFinal(record.state)) {
    const taken = await takeOver(state, held, "recover", tools)
    if (typeof taken === "object" && taken.unreleased !== undefined) throw taken.unreleased
  } else {
    const journal = openJournal(state.db, record.id, layout.handles, recalled)
    if (!isFinal(record.state)) tools.log.warn("it is ended without its hooks")
    const failures = releaseAll(journal, layout, tools.log.warn)
    if (failures.length > 0) throw joinFailures(record.id, failures)
  }
  proveAbsent(layout, recalled.journal)
}

function isHeld(state: State, id: string): boolean {
  using holder = lockHolder(vmLayout(state.where, id))
  return holder.is !== "free"
}
