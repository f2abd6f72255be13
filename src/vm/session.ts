import type { Database } from "bun:sqlite"
import { Failure } from "../base/terms/failure.ts"
import { requireHostSocket } from "../host/vmm/socketPaths.ts"
import { removeDirectory } from "../store/files/removeDirectory.ts"
import { replaceFile } from "../store/files/replaceFile.ts"
import { bootId } from "../store/state/bootId.ts"
import { exclusively } from "../store/state/database.ts"
import { appendEvent, type VmEvent } from "../store/state/events.ts"
import type { Generation } from "../store/state/handles.ts"
import { ownPlaces, type State } from "../store/state/open.ts"
import { type VmLayout, vmLayout } from "../store/state/places.ts"
import { changeState, deleteRecord, insertRecord } from "../store/state/records.ts"
import { newVmId } from "../store/state/vmId.ts"
import type { VmState } from "../store/state/vmState.ts"
import { type Journal, openJournal } from "./journal.ts"
import { lockVm, type VmLock } from "./lock.ts"
import type { LockedVm } from "./lockVmRecord.ts"
import type { VmRequest } from "./request.ts"

/** A VM that has a record, a directory and a journal. */
export interface Session {
  readonly id: string
  readonly layout: VmLayout
  readonly db: Database
  readonly journal: Journal
  /** The state the record is in. */
  readonly state: VmState
  /** Moves the record and notes it in events.jsonl. */
  enter(state: VmState, exit?: unknown): void
  note(event: VmEvent): void
  /** Lets go of the VM's lock. */
  unlock(): void
}

/** A fresh id and its layout; throws a failure when a path in it would be too long. Nothing is made. */
export function layoutFor(name: string): { id: string; layout: VmLayout } {
  const id = newVmId(name)
  const layout = vmLayout(ownPlaces(), id)
  requireHostSocket(layout.qmpSocket, "BANGER_RUNTIME_DIR")
  return { id, layout }
}

/** A VM that is to get its record. */
export interface NewVm {
  readonly id: string
  readonly name: string
  readonly vmm: string
  readonly plugin: { readonly path: string; readonly sha256: string }
  /** Its spec as a plugin would write it. */
  readonly spec: Readonly<Record<string, unknown>>
  readonly request?: VmRequest
}

/**
 * Gives a VM its record, its directory and its lock, which is held until `release`. From here on every end of the run
 * must bring the record to a final state. Throws a failure, with nothing made, when the name is taken.
 */
export function createSession({ db, where }: State, vm: NewVm): Session {
  const { id, name, vmm, plugin, spec, request = { args: [], supervised: true } } = vm
  const layout = vmLayout(where, id)
  const record = {
    ...{ id, name, vmm, boot_id: bootId(), plugin_path: plugin.path, plugin_sha256: plugin.sha256 },
    ...{ spec: JSON.stringify(spec), request: JSON.stringify(request) },
  }
  const undo = () => {
    removeDirectory(layout.dir)
    deleteRecord(db, id)
  }
  // Whoever finds the record finds the VM's lock held too, unless this process is gone.
  const lock = exclusively(where.state, () => {
    insertRecord(db, record)
    return undoing(undo, () => requireLock(layout))
  })
  return undoing(undo, () => {
    replaceFile(layout.plugin, `${JSON.stringify({ path: plugin.path, sha256: plugin.sha256 })}\n`)
    const session = openSession({ db, layout, lock, state: "creating", journal: openJournal(db, layout) })
    session.note({ event: "state", state: "creating" })
    return session
  })
}

/** Takes up a VM whose supervisor is gone, with what its journal holds. The caller has locked it. */
export function resumeSession({ db }: State, { record, layout, lock }: LockedVm, journal: Generation): Session {
  return openSession({ db, layout, lock, state: record.state, journal: openJournal(db, layout, journal) })
}

// --- internal ---

function undoing<T>(undo: () => void, work: () => T): T {
  try {
    return work()
  } catch (error) {
    undo()
    throw error
  }
}

function requireLock(layout: VmLayout): VmLock {
  const lock = lockVm(layout, "supervise")
  if (lock !== undefined) return lock
  throw new Failure("FAILED", `another process holds ${layout.lock}`, { hint: "end it, then run the VM again" })
}

interface Opened extends Pick<Session, "db" | "layout" | "journal" | "state"> {
  readonly lock: VmLock
}

function openSession({ db, layout, lock, journal, ...opened }: Opened): Session {
  let { state } = opened
  const note = (event: VmEvent) => {
    try {
      appendEvent(layout.events, event)
    } catch {
      // A full disk must not keep a VM from being cleaned up; the record has the states, and it is checked.
    }
  }
  return {
    id: layout.id,
    layout,
    db,
    journal,
    get state() {
      return state
    },
    enter(next, exit) {
      changeState(db, layout.id, { to: next, exit })
      state = next
      note(exit === undefined ? { event: "state", state } : { event: "state", state, exit })
    },
    note,
    unlock: lock.unlock,
  }
}
