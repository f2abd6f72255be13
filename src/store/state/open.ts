import type { Database } from "bun:sqlite"
import { existsSync, realpathSync } from "node:fs"
import { join } from "node:path"
import { ownEnvironment } from "../../base/linux/environment.ts"
import { errorCode, isDiskFull } from "../../base/linux/errors.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { ensurePrivateDirectory } from "../files/privateDirectory.ts"
import { type OpenOptions, openCopy, openDatabase } from "./database.ts"
import { type AllPlaces, type Places, places } from "./places.ts"

// The room state: what is kept of VMs on disk: records, journals, leases, uids, and where all of it lies.
// The rule: a journal or record is believed whole or not at all, and a write is one transaction or one rename.

const env = ownEnvironment()

/** Where this user's VMs live. Nothing is made. */
export function ownPlaces(): AllPlaces {
  return places(env, process.geteuid?.() ?? 0)
}

export { ownEnvironment }

/** This user's state database and where everything is, the directories made on first use. */
export interface State {
  readonly db: Database
  readonly where: Places
}

/** A state that this process opened: `using` closes its database. */
export type OpenState = State & Disposable

/** This user's state directory, made if it is missing: its real path. Throws a failure when it is not safe to use. */
export function ensureState(state: string = ownPlaces().state): string {
  return ensurePrivateDirectory(state, openMode(), !env.BANGER_STATE_DIR)
}

/** This user's runtime directory, made if it is missing. Throws a failure when it is not safe to use. */
export function ensureRuntime(): string {
  return ensurePrivateDirectory(ownPlaces().runtime, openMode(), !env.BANGER_RUNTIME_DIR)
}

/** Opens this user's state, making what is missing. Throws a failure when a directory is not safe to use. `options`: of the database. */
export function openState(options?: OpenOptions): OpenState {
  const state = ensureState()
  const runtime = ensureRuntime()
  return open(openDatabase(state, options), { state, runtime })
}

/**
 * As `openState`, for commands that only look: on a full or read-only disk they see a copy of the state, and `warn` hears
 * of it. Throws NO_SPACE where there is no room for a copy either.
 */
export function openStateToLook(warn: (text: string) => void): OpenState {
  try {
    return openState()
  } catch (error) {
    const named = ownPlaces()
    if (!isOnDeadDisk(error) || !existsSync(join(named.state, "state.db"))) throw error
    // The runtime directory is usually a tmpfs: writable even when the disk is not.
    const spare = ensurePrivateDirectory(named.runtime, 0o1711, !env.BANGER_RUNTIME_DIR)
    const db = copyIn(spare, named.state)
    warn(`${messageOf(error)}: only a look is possible`)
    return open(db, { state: realpathSync(named.state), runtime: spare })
  }
}

// --- internal ---

function open(db: Database, where: Places): OpenState {
  return { db, where, [Symbol.dispose]: () => db.close() }
}

function copyIn(spare: string, state: string): Database {
  try {
    return openCopy(state, spare)
  } catch (error) {
    if (!isOnDeadDisk(error)) throw error
    const message = `${state} cannot be written, and ${spare} has no room for a copy to look at: ${messageOf(error)}`
    throw new Failure("NO_SPACE", message, { hint: `make room in ${spare}`, subject: spare, cause: error })
  }
}

/** Root's directories can be crossed: the uids of jails must reach what is below. */
function openMode(): number {
  return process.geteuid?.() === 0 ? 0o1711 : 0o1700
}

/** Whether a full or read-only disk caused a failure. */
function isOnDeadDisk(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const code = errorCode(cause) ?? ""
    if (isDiskFull(cause) || /^SQLITE_(?:FULL|IOERR|READONLY|CANTOPEN)/.test(code)) return true
  }
  return false
}
