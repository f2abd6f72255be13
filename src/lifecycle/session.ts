import type { Database } from "bun:sqlite"
import { existsSync, realpathSync } from "node:fs"
import { join } from "node:path"
import * as v from "valibot"
import { errorCode } from "../linux/errors.ts"
import { replaceFile } from "../state/atomic.ts"
import { bootId } from "../state/bootId.ts"
import { exclusively, openCopy, openDatabase } from "../state/database.ts"
import { ensurePrivateDirectory } from "../state/directory.ts"
import { appendEvent, type VmEvent } from "../state/events.ts"
import type { Generation } from "../state/handles.ts"
import { type AllPlaces, type Places, places, type VmLayout, vmLayout } from "../state/places.ts"
import { changeState, deleteRecord, insertRecord } from "../state/records.ts"
import { newVmId } from "../state/vmId.ts"
import type { VmState } from "../state/vmState.ts"
import { Failure, reason } from "../terms/failure.ts"
import { type Journal, openJournal } from "./journal.ts"
import { checkSocketPath } from "./plan.ts"
import type { Prepared } from "./prepare.ts"
import { removeDirectory } from "./removeDirectory.ts"
import { lockVm, type VmLock } from "./vmLock.ts"

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
  release(): void
}

/** As this program was started with it: a plugin may change its environment, and the watching thread would not see it. */
const env = { ...process.env }

/** For a banger that this one starts: the environment as it was, before any plugin changed it. */
export function ownEnvironment(): Readonly<Record<string, string | undefined>> {
  return env
}

/** Where this user's VMs live. Nothing is made. */
export function ownPlaces(): AllPlaces {
  return places(env, process.geteuid?.() ?? 0)
}

/** A fresh id and its layout; throws a failure when a path in it would be too long. Nothing is made. */
export function layoutFor(name: string): { id: string; layout: VmLayout } {
  const id = newVmId(name)
  const layout = vmLayout(ownPlaces(), id)
  checkSocketPath(layout.control, "BANGER_RUNTIME_DIR")
  return { id, layout }
}

/** This user's state database and where everything is, the directories made on first use. */
export interface State {
  readonly db: Database
  readonly where: Places
}

/** This user's runtime directory, made if it is missing. Throws a failure when it is not safe to use. */
export function ensureRuntime(): string {
  return ensurePrivateDirectory(ownPlaces().runtime, openMode(), !env.BANGER_RUNTIME_DIR)
}

/** Opens this user's state, making what is missing. Throws a failure when a directory is not safe to use. */
export function openState(): State {
  const state = ensurePrivateDirectory(ownPlaces().state, openMode(), !env.BANGER_STATE_DIR)
  const runtime = ensureRuntime()
  return { db: openDatabase(state), where: { state, runtime } }
}

/**
 * As `openState`, for commands that only look: where the disk is full or read-only they see the state as it is. `warn` hears
 * of that.
 */
export function openStateToLook(warn: (text: string) => void): State {
  try {
    return openState()
  } catch (error) {
    const named = ownPlaces()
    if (!isOnDeadDisk(error) || !existsSync(join(named.state, "state.db"))) throw error
    // What is in memory only, as a rule.
    const spare = ensurePrivateDirectory(named.runtime, 0o1711, !env.BANGER_RUNTIME_DIR)
    const db = openCopy(named.state, spare)
    warn(`${reason(error)}: only a look is possible`)
    return { db, where: { state: realpathSync(named.state), runtime: spare } }
  }
}

/** How a VM was asked for: what it takes to do so again, and to finish what was begun. */
export const requestSchema = v.strictObject({
  args: v.optional(v.array(v.string()), []),
  /** How many postStop hooks its plugin has; undefined when it is not known. */
  postStop: v.optional(v.number()),
  supervised: v.optional(v.boolean(), true),
  /** Whom root ran it for, by sudo, and the sha256 of each file that was loaded then. */
  asker: v.optional(v.object({ uid: v.number(), files: v.array(v.string()) })),
})
export type VmRequest = v.InferOutput<typeof requestSchema>

/**
 * Gives a prepared VM its record, its directory and its lock, which is held until `release`. From here on every end of
 * the run must bring the record to a final state. Throws a failure, with nothing made, when the name is taken.
 */
export function createSession(
  prepared: Prepared,
  vmm: string,
  id: string,
  { db, where }: State,
  request: VmRequest = { args: [], supervised: true },
): Session {
  const layout = vmLayout(where, id)
  const { loaded, spec, written } = prepared
  const record = {
    id,
    name: spec.name,
    vmm,
    boot_id: bootId(),
    plugin_path: loaded.source.path,
    plugin_sha256: loaded.sha256,
    spec: JSON.stringify(written),
    request: JSON.stringify(request),
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
    replaceFile(layout.plugin, `${JSON.stringify({ path: loaded.source.path, sha256: loaded.sha256 })}\n`)
    const session = openSession(db, layout, lock, "creating", openJournal(db, id, layout.handles))
    session.note({ event: "state", state: "creating" })
    return session
  })
}

/** Goes on with a VM whose supervisor is gone. The caller has its lock, under which the record was read. */
export function resumeSession(
  { db }: State,
  layout: VmLayout,
  lock: VmLock,
  state: VmState,
  journal: Generation,
): Session {
  return openSession(db, layout, lock, state, openJournal(db, layout.id, layout.handles, journal))
}

// --- internal ---

/** Below root's there is what the uids of jails must reach. */
function openMode(): number {
  return process.geteuid?.() === 0 ? 0o1711 : 0o1700
}

/** Whether a failure came of a disk that is full or cannot be written. */
function isOnDeadDisk(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const code = errorCode(cause) ?? ""
    if (["ENOSPC", "EDQUOT", "EROFS"].includes(code) || /^SQLITE_(?:FULL|IOERR|READONLY|CANTOPEN)/.test(code))
      return true
  }
  return false
}

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
  throw new Failure(`another process holds ${layout.lock}`, { hint: "end it, then run the VM again" })
}

function openSession(db: Database, layout: VmLayout, lock: VmLock, current: VmState, journal: Journal): Session {
  let state = current
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
      changeState(db, layout.id, next, exit)
      state = next
      note(exit === undefined ? { event: "state", state } : { event: "state", state, exit })
    },
    note,
    release: lock.release,
  }
}
