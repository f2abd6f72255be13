import { close } from "../base/linux/files.ts"
import { isFailure } from "../base/terms/failure.ts"
import { surelyRuns } from "../host/process/identity.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { recall } from "../store/state/recall.ts"
import { findById, listRecords, listUnfinished, type VmRecord } from "../store/state/records.ts"
import { isFinal, type VmState } from "../store/state/vmState.ts"
import { truthOfVm } from "./liveness.ts"
import { lockHolder } from "./lock.ts"

/** One VM as `banger ps` shows it. Times are milliseconds since the epoch. */
export interface Listed {
  readonly id: string
  readonly name: string
  /** What its record says. */
  readonly state: VmState
  /** What is proven of its VMM now. */
  readonly truth: "alive" | "dead" | "cannot tell"
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
export function listVms(state: State, all: boolean): readonly Listed[] {
  return (all ? listRecords(state.db) : listUnfinished(state.db)).map((record) => look(state, record))
}

/** One VM as it is now. */
export function look(state: State, record: VmRecord, tries = 3): Listed {
  const looked = lookOnce(state, record)
  if (looked.why === undefined || tries === 0) return looked
  // What looks wrong may have changed between the two readings.
  const fresh = findById(state.db, record.id)
  return fresh === undefined || fresh.updated_at === record.updated_at ? looked : look(state, fresh, tries - 1)
}

/** The state in the words of a table. */
export function stateWords({ state, truth, supervisor, restartAt, why }: Listed): string {
  if (truth === "cannot tell") return `${state}? cannot tell`
  if (restartAt !== null) return `${state}, restarting`
  if (isFinal(state)) return why === undefined ? state : `${state}, not released`
  if (truth === "dead" && supervisor === undefined) return `${state}? dead`
  return supervisor === undefined ? `${state}, unsupervised` : state
}

// --- internal ---

function lookOnce(state: State, record: VmRecord): Listed {
  const { id, name, vmm } = record
  const supervisor = supervisorOf(state, record)
  const known = isFinal(record.state) ? endedOf(record, supervisor) : truthOf(state, record, supervisor)
  return {
    ...{ id, name, state: record.state, ...known, vmm, supervisor, plugin: record.plugin_path },
    createdAt: record.created_at,
    runningAt: record.running_at,
    endedAt: record.ended_at,
    restartAt: supervisor === undefined ? null : record.restart_at,
    exit: record.exit === null ? null : JSON.parse(record.exit),
  }
}

type Known = Pick<Listed, "truth" | "why" | "hint" | "pid">

function supervisorOf(state: State, record: VmRecord): number | undefined {
  if (isFinal(record.state) && record.restart_at === null) return undefined
  const holder = lockHolder(vmLayout(state.where, record.id))
  if (typeof holder !== "object") return undefined
  close(holder.pidfd)
  return holder.doing === "supervise" ? holder.pid : undefined
}

function endedOf({ id, handles, kept }: VmRecord, supervisor: number | undefined): Known {
  const ended = { truth: "dead", why: undefined, hint: undefined, pid: undefined } as const
  if (handles === "[]" || supervisor !== undefined) return ended
  const why = kept === 1 ? "a failed start, kept for inspection" : "not everything of it was released"
  return { ...ended, why, hint: kept === 1 ? `banger rm -f ${id}` : `banger rm ${id}` }
}

function truthOf(state: State, record: VmRecord, supervisor: number | undefined): Known {
  const layout = vmLayout(state.where, record.id)
  try {
    const { journal } = recall(record, layout.handles)
    const identity = journal.find((resource) => resource.kind === "process")?.identity
    if (identity && surelyRuns(identity)) return { truth: "alive", why: undefined, hint: undefined, pid: identity.pid }
    const truth = truthOfVm(record, layout, journal)
    if (truth.is === "alive") {
      close(truth.pidfd)
      return { truth: "alive", why: undefined, hint: undefined, pid: truth.pid }
    }
    // A VM that is being started, or cleaned up, by its supervisor has no VMM either.
    if (truth.is === "dead" && supervisor !== undefined)
      return { truth: "dead", why: undefined, hint: undefined, pid: undefined }
    const hint = truth.is === "dead" ? "banger sweep" : truth.hint
    return { truth: truth.is, why: truth.why, hint, pid: undefined }
  } catch (error) {
    if (!isFailure(error)) throw error
    return { truth: "cannot tell", why: error.message, hint: error.hint, pid: undefined }
  }
}
