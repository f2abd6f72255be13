import { close } from "../linux/files.ts"
import { signalProcess } from "../process/kill.ts"
import type { Resource } from "../state/handles.ts"
import { type VmLayout, vmLayout } from "../state/places.ts"
import { recall } from "../state/recall.ts"
import { findById, findRecord, getRecord, type VmRecord } from "../state/records.ts"
import { isFinal } from "../state/vmState.ts"
import { Failure } from "../terms/failure.ts"
import { awaitChange } from "./awaitChange.ts"
import { proveAbsent } from "./proveAbsent.ts"
import { prefixed, type Report } from "./report.ts"
import type { State } from "./session.ts"
import { type StopRequest, writeStopRequest } from "./stopRequest.ts"
import { hold, takeOver } from "./takeOver.ts"
import { type Tools, withTools } from "./tools.ts"
import { type LockHolder, lockHolder } from "./vmLock.ts"

/**
 * Stops a VM and proves that nothing of it is left: through its supervisor, or in its place where that is gone. One that
 * has ended already is fine. Returns its record. Throws a failure when it cannot be told whether it runs, or when
 * something of it could not be removed.
 */
export async function stopVm(state: State, reference: string, request: StopRequest, report: Report): Promise<VmRecord> {
  const { id, name } = findRecord(state.db, reference)
  return withTools(prefixed(report, name), (tools) => stopKnown(state, id, request, tools))
}

/** As `stopVm`, of the VM with this id, for a process that has its tools already. */
export async function stopKnown(state: State, id: string, request: StopRequest, tools: Tools): Promise<VmRecord> {
  const layout = vmLayout(state.where, id)
  const first = getRecord(state.db, id)
  const { journal } = recall(first, layout.handles)
  let told: number | undefined
  const patience = patienceWith(layout)
  while (!tools.interrupts.stop.aborted) {
    const record = findById(state.db, id)
    // Another banger has removed it meanwhile.
    if (record === undefined) return first
    const holder = lockHolder(layout)
    if (typeof holder === "object") {
      const { pid, doing } = holder
      // A VM that waits to be booted again is final, and has a supervisor all the same.
      if (doing === "supervise" && told !== pid && (!isFinal(record.state) || record.restart_at !== null)) {
        ask(holder, layout, request)
        told = pid
      }
      close(holder.pidfd)
      if (isFinal(record.state) && record.restart_at === null) return proven(record, layout, journal)
    } else if (isFinal(record.state) && record.restart_at === null && record.handles === "[]") {
      return proven(record, layout, journal)
    } else if (await stopHere(state, id, request, tools))
      return proven(findById(state.db, id) ?? record, layout, journal)
    if (typeof holder === "object") patience.renew()
    else patience.spend()
    await awaitChange(layout, tools.interrupts.stop)
  }
  throw new Failure("interrupted: the VM goes on stopping if it has a supervisor", {
    exit: tools.interrupts.exitCode(),
  })
}

// --- internal ---

const SIGTERM = 15

/** One that holds a VM's lock says who it is at once; one that does not in so many milliseconds is stuck. */
const PATIENCE = 10_000

function patienceWith({ lock }: VmLayout): { renew(): void; spend(): void } {
  let deadline = performance.now() + PATIENCE
  return {
    renew() {
      deadline = performance.now() + PATIENCE
    },
    spend() {
      if (performance.now() < deadline) return
      const hint = `find who holds it: fuser -v ${lock}; end it if it is stuck, then try again`
      throw new Failure(`another process does not let go of ${lock}`, { hint })
    },
  }
}

function ask({ pidfd }: LockHolder, layout: VmLayout, request: StopRequest): void {
  writeStopRequest(layout, request)
  signalProcess(pidfd, SIGTERM)
}

/** In the place of a supervisor that is gone; false when another banger has the VM's lock. */
async function stopHere(state: State, id: string, request: StopRequest, tools: Tools): Promise<boolean> {
  const held = hold(state, id, "finish")
  if (held === "gone") return true
  if (held === undefined) return false
  try {
    if (held.record.kept === 1 && isFinal(held.record.state)) throw keptForInspection(held.record)
    const taken = await takeOver(state, held, { stop: request }, tools)
    if (typeof taken === "object" && taken.unreleased !== undefined) throw taken.unreleased
    return true
  } finally {
    held.lock.release()
  }
}

function keptForInspection({ id, name }: VmRecord): Failure {
  return new Failure(`${name} (${id}) is a failed start that was kept for inspection`, {
    hint: `to remove it: banger rm -f ${id}`,
  })
}

function proven(record: VmRecord, layout: VmLayout, journal: readonly Resource[]): VmRecord {
  proveAbsent(layout, journal)
  return record
}
