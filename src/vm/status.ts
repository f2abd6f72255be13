import { isFailure } from "../base/terms/failure.ts"
import type { Liveness } from "../base/terms/liveness.ts"
import { surelyRuns } from "../host/process/identity.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { recall } from "../store/state/recall.ts"
import { findById, listRecords, listUnfinished, type VmRecord } from "../store/state/records.ts"
import { isFinal, type VmState } from "../store/state/vmState.ts"
import { entryOf } from "./journal.ts"
import { livenessOf } from "./liveness.ts"
import { lockHolder } from "./lock.ts"

/** One VM as `banger ps` shows it. Times are milliseconds since the epoch. */
export interface VmStatus {
  readonly id: string
  readonly name: string
  /** What its record says. */
  readonly state: VmState
  /** What is proven of its VMM now. */
  readonly liveness: Liveness
  /** Why, where that is not what the state lets expect. */
  readonly why: string | undefined
  /** The command that mends it. */
  readonly hint: string | undefined
  readonly vmm: string
  readonly pid: number | undefined
  /** The process of its supervisor, when it has one. */
  readonly supervisor: number | undefined
  readonly plugin: string
  readonly createdAt: number
  readonly runningAt: number | null
  readonly endedAt: number | null
  /** When its supervisor boots it again. */
  readonly restartAt: number | null
  readonly exit: unknown
}

/** The VMs on record, newest first: those that have not ended, or all. Nothing is changed. */
export function listVms(state: State, all: boolean): readonly VmStatus[] {
  return (all ? listRecords(state.db) : listUnfinished(state.db)).map((record) => statusOf(state, record))
}

/** One VM as it is now. */
export function statusOf(state: State, record: VmRecord, tries = 3): VmStatus {
  const looked = readStatus(state, record)
  if (looked.why === undefined || tries === 0) return looked
  // What looks wrong may have changed between the two readings.
  const fresh = findById(state.db, record.id)
  return fresh === undefined || fresh.updated_at === record.updated_at ? looked : statusOf(state, fresh, tries - 1)
}

/** The state in the words of a table. */
export function stateWords({ state, liveness, supervisor, restartAt, why }: VmStatus): string {
  if (liveness === "unknown") return `${state}? cannot tell`
  if (restartAt !== null) return `${state}, restarting`
  if (isFinal(state)) return why === undefined ? state : `${state}, not released`
  if (liveness === "dead" && supervisor === undefined) return `${state}? dead`
  return supervisor === undefined ? `${state}, unsupervised` : state
}

// --- internal ---

function readStatus(state: State, record: VmRecord): VmStatus {
  const { id, name, vmm } = record
  const supervisor = supervisorOf(state, record)
  const known = isFinal(record.state) ? endedOf(record, supervisor) : currentLiveness(state, record, supervisor)
  return {
    ...{ id, name, state: record.state, ...known, vmm, supervisor, plugin: record.plugin_path },
    createdAt: record.created_at,
    runningAt: record.running_at,
    endedAt: record.ended_at,
    restartAt: supervisor === undefined ? null : record.restart_at,
    exit: record.exit === null ? null : JSON.parse(record.exit),
  }
}

type Known = Pick<VmStatus, "liveness" | "why" | "hint" | "pid">

function supervisorOf(state: State, record: VmRecord): number | undefined {
  if (isFinal(record.state) && record.restart_at === null) return undefined
  using holder = lockHolder(vmLayout(state.where, record.id))
  return holder.is === "held" && holder.doing === "supervise" ? holder.process.pid : undefined
}

function endedOf({ id, handles, keptForInspection }: VmRecord, supervisor: number | undefined): Known {
  const ended = { liveness: "dead", why: undefined, hint: undefined, pid: undefined } as const
  if (handles === "[]" || supervisor !== undefined) return ended
  const why = keptForInspection ? "a failed start, kept for inspection" : "not everything of it was released"
  return { ...ended, why, hint: keptForInspection ? `banger rm -f ${id}` : `banger rm ${id}` }
}

function currentLiveness(state: State, record: VmRecord, supervisor: number | undefined): Known {
  const layout = vmLayout(state.where, record.id)
  try {
    const { journal } = recall(record, layout.handles)
    const identity = entryOf(journal, "process")?.identity
    if (identity && surelyRuns(identity))
      return { liveness: "alive", why: undefined, hint: undefined, pid: identity.pid }
    using found = livenessOf(record, layout, journal)
    if (found.is === "alive") return { liveness: "alive", why: undefined, hint: undefined, pid: found.process.pid }
    // A VM that is being started, or cleaned up, by its supervisor has no VMM either.
    if (found.is === "dead" && supervisor !== undefined)
      return { liveness: "dead", why: undefined, hint: undefined, pid: undefined }
    const hint = found.is === "dead" ? "banger sweep" : found.hint
    return { liveness: found.is, why: found.why, hint, pid: undefined }
  } catch (error) {
    if (!isFailure(error)) throw error
    return { liveness: "unknown", why: error.message, hint: error.hint, pid: undefined }
  }
}
