import * as v from "valibot"
import { withRoute } from "../base/linux/rtnetlink.ts"
import { isFailure } from "../base/terms/failure.ts"
import { livenessSchema } from "../base/terms/liveness.ts"
import { ownerOf as ownerOfNetworks } from "../host/network/names.ts"
import { findFaults, type NetworkFault } from "../host/network/repair.ts"
import { ranMs, surelyRuns } from "../host/process/identity.ts"
import { addressOf, listLeases } from "../store/state/leases.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { recall } from "../store/state/recall.ts"
import {
  findById,
  isUpIn,
  listRecords,
  listUnfinished,
  mirroredProcess,
  type VmRecord,
} from "../store/state/records.ts"
import { exitSchema, isFinal, vmStateSchema } from "../store/state/vmState.ts"
import { livenessOf } from "./liveness.ts"
import { supervisorPid } from "./lock.ts"
import { ownerOf } from "./request.ts"

/** One VM as `banger ps` shows it. Times are milliseconds since 1970. */
export const vmStatusSchema = v.strictObject({
  id: v.string(),
  name: v.string(),
  /** The state of its record. */
  state: vmStateSchema,
  /** Whether its VMM runs now. */
  liveness: livenessSchema,
  /** Why, where state and liveness do not fit. */
  why: v.optional(v.string()),
  /** The command that mends it, or what to do. */
  hint: v.optional(v.string()),
  vmm: v.string(),
  pid: v.optional(v.number()),
  /** The guest's address on a bridge of banger's, until the VM has ended. */
  address: v.optional(v.string()),
  /** The process of its supervisor, if it has one. */
  supervisor: v.optional(v.number()),
  plugin: v.string(),
  createdAtMs: v.number(),
  runningAtMs: v.nullable(v.number()),
  /** How long its VMM has been running, by the kernel: the host's clock may have been set since. */
  runningForMs: v.nullable(v.number()),
  endedAtMs: v.nullable(v.number()),
  /** The user that root's helper runs it for. */
  owner: v.optional(v.number()),
  /** When its supervisor means to boot it again. */
  restartAtMs: v.nullable(v.number()),
  exit: v.nullable(exitSchema),
})
export type VmStatus = Readonly<v.InferOutput<typeof vmStatusSchema>>

/** The VMs on record, newest first: all, or those that have not ended or hold something still. Changes nothing. */
export function listVms(state: State, all: boolean): readonly VmStatus[] {
  const faults = Map.groupBy(knownFaultsOf(state), ({ vm }) => vm)
  return (all ? listRecords(state.db) : listUnfinished(state.db)).map((record) => {
    const status = statusOf(state, record)
    const own = faults.get(record.id) ?? []
    if (status.liveness !== "alive" || status.why !== undefined || own.length === 0) return status
    const hint = own.every(({ restorable }) => restorable) ? "banger net rm" : `banger restart ${record.name}`
    return { ...status, why: `its network is not whole: ${own.map(({ what }) => what).join(", ")}`, hint }
  })
}

/** What others have changed of the networks of this owner's VMs, where this user can see that. Throws where the kernel does not tell. */
export function networkFaultsOf({ db, where }: Pick<State, "db" | "where">): readonly NetworkFault[] {
  const leases = process.geteuid?.() === 0 ? listLeases(db) : []
  if (leases.length === 0) return []
  return withRoute((route) => findFaults(route, { owner: ownerOfNetworks(where.state), leases, isUp: isUpIn(db) }))
}

/** A VM as it is now. Changes nothing. Throws nothing: what cannot be read makes its liveness "unknown". */
export function statusOf(state: State, record: VmRecord, tries = 3): VmStatus {
  const looked = readStatus(state, record)
  if (looked.why === undefined || tries === 0) return looked
  // What does not fit may have changed between the readings of the record and of the process.
  const fresh = findById(state.db, record.id)
  return fresh === undefined || fresh.updated_at === record.updated_at ? looked : statusOf(state, fresh, tries - 1)
}

/** The state as a table shows it. */
export function stateWords({ state, liveness, supervisor, restartAtMs, why }: VmStatus): string {
  if (liveness === "unknown") return `${state}? cannot tell`
  if (restartAtMs !== null) return `${state}, restarting`
  if (isFinal(state)) return why === undefined ? state : `${state}, not released`
  if (liveness === "dead" && supervisor === undefined) return `${state}? dead`
  return supervisor === undefined ? `${state}, unsupervised` : state
}

// --- internal ---

function knownFaultsOf(state: State): readonly NetworkFault[] {
  try {
    return networkFaultsOf(state)
  } catch {
    // Advice only: net check says what is in the way.
    return []
  }
}

function readStatus(state: State, record: VmRecord): VmStatus {
  const { id, name, vmm } = record
  const supervisor = supervisorOf(state, record)
  const { startTime, ...known } = isFinal(record.state)
    ? endedOf(record, supervisor)
    : currentLiveness(state, record, supervisor)
  return {
    ...{
      id,
      name,
      state: record.state,
      ...known,
      address: addressOf(state.db, id),
      vmm,
      supervisor,
      plugin: record.plugin_path,
      owner: ownerOf(record),
    },
    createdAtMs: record.created_at,
    runningAtMs: record.running_at,
    runningForMs: record.running_at === null || startTime === undefined ? null : ranMs(startTime),
    endedAtMs: record.ended_at,
    restartAtMs: supervisor === undefined ? null : record.restart_at,
    exit: record.exit === null ? null : JSON.parse(record.exit),
  }
}

type Known = Pick<VmStatus, "liveness" | "why" | "hint" | "pid"> & { readonly startTime?: number | undefined }

const ALIVE = { liveness: "alive", why: undefined, hint: undefined } as const

function supervisorOf(state: State, record: VmRecord): number | undefined {
  if (isFinal(record.state) && record.restart_at === null) return undefined
  return supervisorPid(vmLayout(state.where, record.id))
}

function endedOf({ id, handles, keptForInspection }: VmRecord, supervisor: number | undefined): Known {
  const ended = { liveness: "dead", why: undefined, hint: undefined, pid: undefined } as const
  if (handles === "[]" || supervisor !== undefined) return ended
  const why = keptForInspection ? "a failed start, kept for inspection" : "not everything of it was released"
  return { ...ended, why, hint: keptForInspection ? `banger rm -f ${id}` : `banger rm ${id}` }
}

function currentLiveness(state: State, record: VmRecord, supervisor: number | undefined): Known {
  // A process that the record names, and that surely is that very one, is the VM's, whatever handles.json adds to it.
  const named = mirroredProcess(record)
  if (named && surelyRuns(named)) return { ...ALIVE, pid: named.pid, startTime: named.startTime }
  const layout = vmLayout(state.where, record.id)
  try {
    const { journal } = recall(record, layout.handles)
    using found = livenessOf(record, layout, journal)
    if (found.is === "alive") return { ...ALIVE, pid: found.process.pid, startTime: found.identity.startTime }
    // While its supervisor starts a VM or cleans up after it, there is no VMM.
    if (found.is === "dead" && supervisor !== undefined)
      return { liveness: "dead", why: undefined, hint: undefined, pid: undefined }
    const hint = found.is === "dead" ? "banger sweep" : found.hint
    return { liveness: found.is, why: found.why, hint, pid: undefined }
  } catch (error) {
    if (!isFailure(error)) throw error
    return { liveness: "unknown", why: error.message, hint: error.hint, pid: undefined }
  }
}
