import type { Database } from "bun:sqlite"
import { dirname } from "node:path"
import type { Exit } from "banger"
import { bootId } from "../base/linux/bootId.ts"
import { Failure } from "../base/terms/failure.ts"
import { requireHostSocket } from "../host/vmm/socketPaths.ts"
import { claimDisks } from "../store/disks/claims.ts"
import { removeDirectory } from "../store/files/removeDirectory.ts"
import { replaceFile } from "../store/files/replaceFile.ts"
import { keepReserve, useReserve } from "../store/files/reserve.ts"
import { exclusively } from "../store/state/database.ts"
import { appendEvent, type VmEvent } from "../store/state/events.ts"
import type { Generation } from "../store/state/handles.ts"
import { ownPlaces, type State } from "../store/state/open.ts"
import { newVmId, type VmLayout, vmLayout } from "../store/state/places.ts"
import { changeState, deleteRecord, findById, insertRecord } from "../store/state/records.ts"
import { claimRestore, findRestored, moveBaseline, type Restore } from "../store/state/restores.ts"
import type { VmState } from "../store/state/vmState.ts"
import { type Journal, openJournal } from "./journal.ts"
import { lockVm, type VmLock } from "./lock.ts"
import type { LockedVm } from "./lockVmRecord.ts"
import type { VmRequest } from "./request.ts"

// The room vm: a VM on this host, whoever acts on it: its lock, its journal, its liveness, its release.
// The rule: lock the VM, then read what to act on; write a resource on the journal, then acquire it; strike it only once it is
// proven gone. Whether a VM runs has three answers, and "unknown" is left alone.

/** A VM that this process has locked, with its record, directory and journal. */
export interface Session {
  readonly id: string
  readonly layout: VmLayout
  readonly db: Database
  readonly journal: Journal
  /** The state of its record. */
  readonly state: VmState
  /** Brings the record into another state and notes that in events.jsonl. Throws when the table of states forbids it. */
  enter(state: VmState, exit?: Exit): void
  /** Adds a line to events.jsonl, as far as the disk allows. */
  note(event: VmEvent): void
  /** It is about to end: where the state's disk is full, what was kept back is given for it. */
  makeRoom(): void
  /** Unlocks the VM. */
  unlock(): void
  /** The descriptor of its lock, for the program that takes this one's place in this process. */
  readonly lockFd: number
}

/** A fresh id and its layout. Nothing is made. Throws BAD_CONFIG when a path in it is too long for a socket. */
export function layoutFor(name: string): { id: string; layout: VmLayout } {
  const id = newVmId(name)
  const layout = vmLayout(ownPlaces(), id)
  requireHostSocket(layout.qmpSocket, "BANGER_RUNTIME_DIR")
  return { id, layout }
}

/** What the record of a new VM is made of. */
export interface NewVm {
  readonly id: string
  readonly name: string
  readonly vmm: string
  readonly plugin: { readonly path: string; readonly sha256: string }
  /** Its spec as a plugin would write it. */
  readonly spec: Readonly<Record<string, unknown>>
  readonly request?: VmRequest
  /** The snapshot that it goes on from, and whether another VM may have gone on from that. */
  readonly restore?: { readonly id: string; readonly dir: string; readonly again: boolean } | undefined
  /** The persistent disks that are to be its alone. */
  readonly disks?: readonly string[]
  /** Is asked in the turn in which the record is made; what it throws keeps that from being made. */
  readonly admit?: (() => void) | undefined
  /** Hears each state that it enters. */
  readonly onState?: ((state: VmState) => void) | undefined
}

/**
 * Makes a VM's record and directory, and locks it. From here on every end of the run must bring the record into a final
 * state. Throws a failure, with nothing made: IN_USE when the name is taken, the snapshot was restored or a disk is in use, BUSY when another
 * process has locked it; what `admit` throws.
 */
export function createSession({ db, where }: State, vm: NewVm): Session {
  const { id, name, vmm, plugin, spec, request = { args: [], supervised: true }, restore, disks = [] } = vm
  const { admit, onState } = vm
  const layout = vmLayout(where, id)
  const record = {
    ...{ id, name, vmm, boot_id: bootId(), plugin_path: plugin.path, plugin_sha256: plugin.sha256 },
    ...{ spec: JSON.stringify(spec), request: JSON.stringify(request) },
  }
  const undo = () => {
    removeDirectory(layout.dir)
    deleteRecord(db, id)
  }
  // In one turn: a process that finds the record also finds the VM locked, unless this process has ended.
  const lock = exclusively(where.state, () => {
    admit?.()
    insertRecord(db, record)
    return undoing(undo, () => {
      if (restore !== undefined) requireUnrestored(db, { ...restore, vm: id, name })
      claimDisks(db, id, disks)
      return requireLock(layout)
    })
  })
  keepReserve(where.state)
  return undoing(undo, () => {
    // For people to read: the record has both too.
    const source = `${JSON.stringify({ path: plugin.path, sha256: plugin.sha256 })}\n`
    replaceFile(layout.plugin, source, { lasting: "nothing" })
    const session = openSession({ db, layout, lock, state: "creating", journal: openJournal(db, layout), onState })
    session.note({ event: "state", state: "creating" })
    return session
  })
}

/** Takes up a VM whose supervisor is gone, with what its journal holds. The caller has locked it. */
export function resumeSession(
  { db }: State,
  { record, layout, lock }: LockedVm,
  { journal, onState }: { readonly journal: Generation } & Pick<NewVm, "onState">,
): Session {
  return openSession({ db, layout, lock, state: record.state, journal: openJournal(db, layout, journal), onState })
}

/** Throws IN_USE when a snapshot was restored already, and no other VM may go on from it. Nothing is claimed. */
export function requireRestorable(db: Database, { id, dir, again }: NonNullable<NewVm["restore"]>): void {
  const first = again ? undefined : findRestored(db, id)
  if (first !== undefined) throw restoredBefore(db, first, dir)
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

/** Claims a snapshot for a VM. Throws a failure that names the VM that has it. */
function requireUnrestored(
  db: Database,
  { id: snapshot, dir, again, vm, name }: NonNullable<NewVm["restore"]> & Pick<NewVm, "name"> & { readonly vm: string },
): void {
  const first = claimRestore(db, { snapshot, vm, name, again })
  if (first === undefined) return void moveBaseline(db, vm, { to: snapshot })
  throw restoredBefore(db, first, dir)
}

function restoredBefore(db: Database, { vm: id, ran_at, name: first }: Restore, dir: string): Failure {
  const by = `by VM ${id} (${first})`
  if (ran_at === null) {
    const hint = `wait for it, or end it: banger stop ${id}`
    return new Failure("IN_USE", `--restore: ${dir} is being restored ${by}`, { subject: id, hint })
  }
  const record = findById(db, id)
  // Its banger may have been killed at the very moment.
  const unsure = record !== undefined && record.running_at === null ? "; whether its guest ran is not known" : ""
  const message = `--restore: ${dir} was restored already ${by} at ${new Date(ran_at).toISOString()}${unsure}`
  const hint =
    "take a new snapshot; or say unsafeClone: true in the plugin, if it does no harm that both guests have the same random numbers, keys and addresses"
  return new Failure("IN_USE", message, { subject: dir, hint })
}

function requireLock(layout: VmLayout): VmLock {
  const lock = lockVm(layout, "supervise")
  if (lock !== undefined) return lock
  const hint = `find it: fuser -v ${layout.lock}; end it, then run the VM again`
  throw new Failure("BUSY", `another process has locked ${layout.lock}`, { subject: layout.id, hint })
}

interface Opened extends Pick<Session, "db" | "layout" | "journal" | "state">, Pick<NewVm, "onState"> {
  readonly lock: VmLock
}

const ENDING: readonly VmState[] = ["stopping", "stopped", "failed"]

function openSession({ db, layout, lock, journal, onState, ...opened }: Opened): Session {
  let { state } = opened
  const note = (event: VmEvent) => {
    try {
      appendEvent(layout.events, event)
    } catch {
      // A full disk must not keep a VM from being cleaned up. The record has the states, and its writes are checked.
    }
  }
  const makeRoom = () => useReserve(dirname(layout.disks))
  return {
    id: layout.id,
    layout,
    db,
    journal,
    get state() {
      return state
    },
    enter(next, exit) {
      if (ENDING.includes(next)) makeRoom()
      changeState(db, layout.id, { to: next, exit })
      state = next
      note(exit === undefined ? { event: "state", state } : { event: "state", state, exit })
      onState?.(state)
    },
    note,
    makeRoom,
    unlock: lock.unlock,
    lockFd: lock.fd,
  }
}
