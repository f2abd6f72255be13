import { mkdirSync } from "node:fs"
import { close } from "../linux/files.ts"
import { exclusively } from "../state/database.ts"
import { type Resource, readHandles } from "../state/handles.ts"
import { takeLock } from "../state/lock.ts"
import { type VmLayout, vmLayout } from "../state/places.ts"
import { deleteRecord, findRecord, mirroredJournal, type VmRecord } from "../state/records.ts"
import { Failure, joined } from "../terms/failure.ts"
import { openJournal } from "./journal.ts"
import { releaseAll } from "./release.ts"
import { removeDirectory } from "./removeDirectory.ts"
import { runningVmm } from "./runningVmm.ts"
import type { State } from "./session.ts"

/**
 * Removes a VM that has ended: releases what its journal still names, then its logs, then its record. One that still
 * runs is refused unless `force` is given, which kills it; one that another banger watches is always refused. Throws
 * when anything could not be proven gone; then the record stays.
 */
export function removeVm(state: State, reference: string, force: boolean, warn: (text: string) => void): VmRecord {
  const { record, layout, lock } = exclusively(state.where.state, () => findAndLock(state, reference))
  try {
    release(state, record, layout, force, warn)
    removeDirectory(layout.dir)
    deleteRecord(state.db, record.id)
  } finally {
    close(lock)
  }
  return record
}

// --- internal ---

/** Throws a failure when another banger holds the lock. */
function findAndLock(state: State, reference: string): { record: VmRecord; layout: VmLayout; lock: number } {
  const record = findRecord(state.db, reference)
  const layout = vmLayout(state.where, record.id)
  // A VM that was cut short as it was made or removed has none.
  mkdirSync(layout.dir, { recursive: true, mode: 0o700 })
  const lock = takeLock(layout.lock)
  if (lock !== undefined) return { record, layout, lock }
  const hint = "stop that first: Ctrl-C in its terminal, or a SIGINT to its process"
  throw new Failure(`${record.name} (${record.id}) is in the hands of another banger`, { hint })
}

function release(state: State, record: VmRecord, layout: VmLayout, force: boolean, warn: (text: string) => void): void {
  const resources = readHandles(layout.handles) ?? mirroredJournal(record)
  if (resources === undefined) {
    const hint = `look at ${layout.dir} and at what still runs, then remove it by hand`
    throw new Failure(`neither handles.json nor the record of ${record.id} can be read; nothing was removed`, { hint })
  }
  if (!force) requireEnded(record, layout, resources)
  const failures = releaseAll(openJournal(state.db, record.id, layout.handles, resources), layout, warn)
  if (failures.length > 0) throw joined(record.id, failures)
}

function requireEnded(record: VmRecord, layout: VmLayout, resources: readonly Resource[]): void {
  for (const resource of resources) {
    if (resource.kind !== "process") continue
    const running = runningVmm(resource, layout)
    for (const { pidfd } of running) close(pidfd)
    if (running.length === 0) continue
    const pids = running.map(({ pid }) => pid).join(", ")
    const hint = `to kill and remove it: banger rm -f ${record.id}`
    throw new Failure(`${record.name} (${record.id}) still runs as process ${pids}`, { hint })
  }
}
