import type { Database } from "bun:sqlite"
import { existsSync, realpathSync } from "node:fs"
import { join } from "node:path"
import { ownEnvironment } from "../../base/linux/environment.ts"
import { errorCode, isDiskFull, unlessAbsent } from "../../base/linux/errors.ts"
import { statPath } from "../../base/linux/files.ts"
import { Failure, isFailure, messageOf } from "../../base/terms/failure.ts"
import { ensurePrivateDirectory } from "../files/privateDirectory.ts"
import { nameProgramsBy } from "../files/programs.ts"
import { useReserve } from "../files/reserve.ts"
import { type Config, configured, PROGRAMS, readConfig } from "./config.ts"
import { type OpenOptions, openCopy, openDatabase, openNothing } from "./database.ts"
import { type AllPlaces, type Places, type PlacesEnv, places } from "./places.ts"

// The room state: what is kept of VMs on disk: records, journals, leases, uids, and where all of it lies.
// The rule: a journal or record is believed whole or not at all, and a write is one transaction or one rename.

const env = ownEnvironment()

/** Where this user's VMs live. Nothing is made. Throws BAD_CONFIG where the configuration cannot tell. */
export function ownPlaces(): AllPlaces {
  return placesOf(env)
}

/** As `ownPlaces`, with these variables. */
export function placesOf(variables: PlacesEnv): AllPlaces {
  const uid = process.geteuid?.() ?? 0
  const where = places(variables, uid)
  // With both variables nothing is left for it to say.
  if (variables.BANGER_STATE_DIR && variables.BANGER_RUNTIME_DIR) return where
  return places(variables, uid, configAt(where.config))
}

/** The configuration is read once: all that one process does is in one place. */
let read: { readonly path: string; readonly config: Config } | undefined

function configAt(path: string): Config {
  if (read?.path !== path) read = { path, config: readIfOurs(path) }
  return read.config
}

/** In a home directory that this user may not search (HOME is another's, after su) there is no configuration of this user's. */
function readIfOurs(path: string): Config {
  try {
    return readConfig(path)
  } catch (error) {
    const hidden = isFailure(error) && errorCode(error.cause) === "EACCES" && !env.BANGER_CONFIG
    if (hidden) return {}
    throw error
  }
}

// What the configuration names by bare words is looked up in PATH like any other program.
let looking = false
nameProgramsBy((name) => {
  const key = PROGRAMS.find((each) => each === name)
  if (key === undefined || looking) return undefined
  looking = true
  try {
    const { config } = ownPlaces()
    return configured(configAt(config), key, config)
  } finally {
    looking = false
  }
})

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
  return placed("BANGER_STATE_DIR", () => ensurePrivateDirectory(state, openMode(), !env.BANGER_STATE_DIR))
}

/** This user's runtime directory, made if it is missing. Throws a failure when it is not safe to use. */
export function ensureRuntime(): string {
  const { runtime } = ownPlaces()
  return placed("BANGER_RUNTIME_DIR", () => ensurePrivateDirectory(runtime, openMode(), !env.BANGER_RUNTIME_DIR))
}

/**
 * Opens this user's state, making what is missing. Throws a failure when a directory is not safe to use. `options`: of the database, and
 * whether it is opened to end VMs, which goes on where its disk is full.
 */
export function openState({ toEnd = false, ...options }: OpenOptions & { readonly toEnd?: boolean } = {}): OpenState {
  const state = ensureState()
  if (toEnd) useReserve(state)
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
    // Where nobody ever ran a VM, there is none, whether or not there could be.
    if (isFailure(error) && PLACE_CODES.includes(error.code) && isAbsent(named.state)) {
      // Who names a place means that one.
      if (env.BANGER_STATE_DIR) ensureState()
      return open(openNothing(), named)
    }
    if (!isOnDeadDisk(error) || !existsSync(join(named.state, "state.db"))) throw error
    // The runtime directory is usually a tmpfs: writable even when the disk is not.
    const spare = ensurePrivateDirectory(named.runtime, 0o1711, !env.BANGER_RUNTIME_DIR)
    const db = copyIn(spare, named.state)
    warn(`${messageOf(error)}: only a look is possible`)
    return open(db, { state: realpathSync(named.state), runtime: spare })
  }
}

// --- internal ---

/** The codes of a directory that cannot be had. */
const PLACE_CODES: readonly string[] = ["BAD_CONFIG", "UNTRUSTED"]

/** Whether there surely is no database: a directory that cannot be searched may have one. */
function isAbsent(state: string): boolean {
  try {
    return unlessAbsent(() => statPath(join(state, "state.db")), ["ENOENT", "ENOTDIR"]) === undefined
  } catch {
    return false
  }
}

/** Says which variable moves a directory that cannot be had; as root, its name in the configuration too. */
function placed<T>(variable: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!isFailure(error) || error.hint?.includes(variable) === true) throw error
    const { code, message, subject, cause, hint = "use another place" } = error
    const xdg = variable === "BANGER_RUNTIME_DIR" && process.geteuid?.() !== 0 && env.XDG_RUNTIME_DIR
    const mine = xdg ? "; or, if XDG_RUNTIME_DIR is another user's (after su): unset XDG_RUNTIME_DIR" : ""
    throw new Failure(code, message, { subject, cause, hint: `${hint}: ${variable}=/DIR${mine}` })
  }
}

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
