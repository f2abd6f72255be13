import { Failure } from "../../base/terms/failure.ts"
import { formatDuration } from "../../base/terms/quantity.ts"
import { isStopped } from "../../host/process/procfs.ts"
import type { State } from "../../store/state/open.ts"
import { type VmLayout, vmLayout } from "../../store/state/places.ts"
import { findById, type VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { mayRestart } from "../../supervisor/restartPolicy.ts"
import { changesOfVm } from "../../vm/awaitChange.ts"
import { type LockHolder, lockHolder } from "../../vm/lock.ts"
import { lockVmRecord } from "../../vm/lockVmRecord.ts"
import { refuseSelfWait } from "../../vm/selfWait.ts"
import { askToStop, type StopRequest } from "../../vm/stopRequest.ts"
import type { Stopper } from "./stopper.ts"

/** What a VM's supervisor is asked for. */
export interface Asked {
  readonly request: StopRequest
  /** Whether it is stopped for something that passes: then a supervisor that is stopped itself is continued, to end its VM. */
  readonly passing: boolean
  /** The process of a supervisor that was told already. */
  readonly signalledPid?: number | undefined
}

/**
 * Waits for a VM's end: asks its supervisor, or stops it in the place of one that is gone. Returns its record, which is
 * final then; undefined when another banger has removed it meanwhile. `signalledPid`: the supervisor that was told.
 */
export async function waitForEnd(
  stopper: Stopper,
  state: State,
  id: string,
  { request, signalledPid, passing }: Asked,
): Promise<{ readonly last: VmRecord | undefined; readonly signalledPid: number | undefined }> {
  const wait: StopWait = {
    ...{ ...stopper, state, id, layout: vmLayout(state.where, id), request, given: request, signalledPid, passing },
    ...{ escalateAt: Number.POSITIVE_INFINITY, giveUpAt: performance.now() + LOCK_WAIT_MS, warned: false },
  }
  const last = await untilEnded(wait)
  return { last, signalledPid: wait.signalledPid }
}

// --- internal ---

/** A process that has locked a VM says who it is at once; one that does not in so many milliseconds is stuck. */
const LOCK_WAIT_MS = 10_000

const SIGCONT = 18

type HeldLock = Extract<LockHolder, { is: "held" }>

/** The wait for one VM's end. */
interface StopWait extends Stopper {
  readonly state: State
  readonly id: string
  readonly layout: VmLayout
  /** What the user asked for. */
  readonly given: StopRequest
  /** What its supervisor is asked for: the same, until that has taken too long. */
  request: StopRequest
  /** The process of the supervisor that was told. */
  signalledPid: number | undefined
  readonly passing: boolean
  /** When our own time limit is up, while the one of an earlier `stop` holds: then the VM is killed. */
  escalateAt: number
  /** When to give up on a lock that is held by nobody who could be asked. */
  giveUpAt: number
  /** Whether it was said that its supervisor is stopped itself. */
  warned: boolean
}

async function untilEnded(wait: StopWait): Promise<VmRecord | undefined> {
  const { state, id, layout, interrupts, among } = wait
  using changes = changesOfVm(layout, among?.pollMs)
  while (!interrupts.stop.aborted) {
    const record = findById(state.db, id)
    if (record === undefined) return undefined
    const holder = askHolder(wait, record)
    if (holder === "has ended") return record
    if (holder === "has it") wait.giveUpAt = performance.now() + LOCK_WAIT_MS
    // Where nobody can tell who has it, a supervisor may have it still: whoever gets its lock knows.
    else if (holder === "nobody" && isFinal(record.state) && record.restart_at === null && record.handles === "[]")
      return record
    else if (await stopHere(wait)) return findById(state.db, id) ?? record
    else if (performance.now() >= wait.giveUpAt) throw lockTimedOut(layout)
    await changes.next(interrupts.stop)
  }
  const hint = "its supervisor, if it has one, still stops it; to wait for that: banger wait"
  const exit = interrupts.exitCode()
  throw new Failure("INTERRUPTED", `interrupted: ${id} has not ended yet`, { exit, hint, subject: id })
}

/** Asks who has locked the VM to stop it, if anybody has; its process is not held open while its end is waited for. */
function askHolder(wait: StopWait, record: VmRecord): "has it" | "has ended" | "nobody" | "unknown" {
  using holder = lockHolder(wait.layout)
  if (holder.is !== "held") return holder.is === "free" ? "nobody" : "unknown"
  refuseSelfWait(holder.process, record)
  if (hasEnded(record, holder)) return "has ended"
  askOnce(wait, record, holder)
  if (isEnding(record) || holder.doing !== "supervise") wait.among?.waits()
  return "has it"
}

function isEnding({ state }: VmRecord): boolean {
  return state === "stopping" || isFinal(state)
}

/** Between two boots of a restart policy the record is already final, but its supervisor has it still locked. */
function hasEnded(record: VmRecord, { doing }: HeldLock): boolean {
  return isFinal(record.state) && record.restart_at === null && !(doing === "supervise" && mayRestart(record))
}

/** Tells the process that has locked the VM to stop it, once, and once more when our own time limit is up. */
function askOnce(wait: StopWait, record: VmRecord, { process, doing }: HeldLock): void {
  const { state, id, layout, log } = wait
  const { pid } = process
  if (wait.passing && isStopped(pid)) process.signal(SIGCONT)
  else if (isStopped(pid) && !wait.warned) {
    log.warn(`its supervisor (process ${pid}) is stopped; to continue it: kill -CONT ${pid}`)
    wait.warned = true
    wait.among?.sleeps()
  }
  if (performance.now() >= wait.escalateAt) {
    wait.request = { action: "kill" }
    wait.escalateAt = Number.POSITIVE_INFINITY
    wait.signalledPid = undefined
  }
  if (doing !== "supervise" || wait.signalledPid === pid) return
  const stateNow = () => findById(state.db, id)?.state ?? record.state
  const asked = askToStop(process, wait.request, { layout, stateNow })
  if (asked === "asked") wait.signalledPid = pid
  // An earlier `stop` set the time limit. Ours counts only if it runs out first.
  else if (wait.request.timeout !== undefined)
    wait.escalateAt = Math.min(wait.escalateAt, performance.now() + wait.request.timeout)
}

/** Stops a VM in the place of its supervisor, which is gone; false when another banger has locked it. */
async function stopHere({ state, id, given, among, ...stopper }: StopWait): Promise<boolean> {
  const locked = lockVmRecord(state, id, "finish")
  if (locked === "gone") return true
  if (locked === undefined) return false
  try {
    const { record } = locked
    // What has ended meanwhile takes no plugin.
    if (among !== undefined && !isFinal(record.state)) {
      locked.lock.unlock()
      await among.apart(id)
      return true
    }
    if (record.keptForInspection && isFinal(record.state)) throw keptForInspection(record)
    const { takeOver } = await import("../../supervisor/takeOver.ts")
    await takeOver(await stopper.pluginHost(), state, { locked, goal: { do: "stop", request: given } })
    return true
  } finally {
    locked.lock.unlock()
  }
}

function keptForInspection({ id, name }: VmRecord): Failure {
  return new Failure("WRONG_STATE", `${name} (${id}) is a failed start that was kept for inspection`, {
    ...{ hint: `to remove it: banger rm -f ${id}`, subject: id },
  })
}

function lockTimedOut({ id, lock }: VmLayout): Failure {
  const hint = `find who holds it: fuser -v ${lock}; end it if it is stuck, then try again`
  return new Failure(
    "TIMED_OUT",
    `waited ${formatDuration(LOCK_WAIT_MS)} for ${lock}, which another process keeps locked`,
    { hint, subject: id },
  )
}
