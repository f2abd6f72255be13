import type { Database } from "bun:sqlite"
import { existsSync, realpathSync } from "node:fs"
import { join } from "node:path"
import { errorCode } from "../../base/linux/errors.ts"
import { messageOf } from "../../base/terms/failure.ts"
import { ensurePrivateDirectory } from "../files/privateDirectory.ts"
import { openCopy, openDatabase } from "./database.ts"
import { type AllPlaces, type Places, places } from "./places.ts"

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

/** Opens this user's state, making what is missing. Throws a failure when a directory is not safe to use. */
export function openState(): OpenState {
  const state = ensureState()
  const runtime = ensureRuntime()
  return open(openDatabase(state), { state, runtime })
}

/**
 * As `openState`, for commands that only look: where the disk is full or read-only they see the state as it is. `warn` hears
 * of that.
 */
export function openStateToLook(warn: (text: string) => void): OpenState {
  try {
    return openState()
  } catch (error) {
    const named = ownPlaces()
    if (!isOnDeadDisk(error) || !existsSync(join(named.state, "state.db"))) throw error
    // What is in memory only, as a rule.
    const spare = ensurePrivateDirectory(named.runtime, 0o1711, !env.BANGER_RUNTIME_DIR)
    const db = openCopy(named.state, spare)
    warn(`${messageOf(error)}: only a look is possible`)
    return open(db, { state: realpathSync(named.state), runtime: spare })
  }
}

// --- internal ---

function open(db: Database, where: Places): OpenState {
  return { db, where, [Symbol.dispose]: () => db.close() }
}

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
