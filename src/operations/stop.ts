import { Failure } from "../base/terms/failure.ts"
import { type Log, prefixed } from "../base/terms/log.ts"
import { isStopped } from "../host/process/procfs.ts"
import type { Resource } from "../store/state/handles.ts"
import type { State } from "../store/state/open.ts"
import { type VmLayout, vmLayout } from "../store/state/places.ts"
import { recall } from "../store/state/recall.ts"
import { findById, findRecord, listUnfinished, type VmRecord } from "../store/state/records.ts"
import { isFinal } from "../store/state/vmState.ts"
import { type PluginHost, withPluginHost } from "../supervisor/hooks/pluginHost.ts"
import { mayRestart } from "../supervisor/restartPolicy.ts"
import { takeOver } from "../supervisor/takeOver.ts"
import { awaitChange } from "../vm/awaitChange.ts"
import { lockHolder } from "../vm/lock.ts"
import { lockVmRecord } from "../vm/lockVmRecord.ts"
import { proveAbsent } from "../vm/proveAbsent.ts"
import { refuseSelfWait } from "../vm/selfWait.ts"
import { askToStop, type StopRequest } from "../vm/stopRequest.ts"

/**
 * Stops a VM and proves that nothing of it is left: through its supervisor, or in its place where that is gone. One that
 * has ended already is fine. Returns its record. Throws a failure when it cannot be told whether it runs, or when
 * something of it could not be removed.
 */
export async function stopVm(state: State, reference: string, request: StopRequest, log: Log): Promise<VmRecord> {
  const known = findRecord(state.db, reference)
  return withPluginHost(prefixed(log, known.name), async (tools) => {
    const record = await stopKnown(state, known, request, tools)
    if (reference === known.name) await stopSuccessors(state, record, request, tools)
    return record
  })
}

/** Stops what came in the place of a VM that was meant by its name, and was being booted again just then. */
export async function stopSuccessors(
  state: State,
  ended: VmRecord,
  request: StopRequest,
  tools: PluginHost,
): Promise<void> {
  const isNext = ({ name, id, state, restart_at }: VmRecord) =>
    name === ended.name && id !== ended.id && (!isFinal(state) || restart_at !== null)
  const next = mayRestart(ended) ? listUnfinished(state.db).find(isNext) : undefined
  if (next === undefined) return
  await stopSuccessors(state, await stopKnown(state, next, request, tools), request, tools)
}

/**
 * As `stopVm`, of a VM on record, for a process that has its tools already. `before`: the process of the supervisor that was
 * told to stop already.
 */
export async function stopKnown(
  state: State,
  known: VmRecord,
  request: StopRequest,
  tools: PluginHost,
  before?: number,
): Promise<VmRecord> {
  const { id } = known
  const layout = vmLayout(state.where, id)
  const first = findById(state.db, id)
  // Another banger has removed it meanwhile.
  if (first === undefined) return known
  const { journal } = recall(first, layout.handles)
  let told = before
  let wanted = request
  let impatientAt = Number.POSITIVE_INFINITY
  const patience = patienceWith(layout)
  let warned = false
  const warnOnce = (text: string) => {
    if (!warned) tools.log.warn(text)
    warned = true
  }
  while (!tools.interrupts.stop.aborted) {
    const record = findById(state.db, id)
    // Another banger has removed it meanwhile.
    if (record === undefined) return first
    using holder = lockHolder(layout)
    if (holder.is === "held") {
      const { process, doing } = holder
      const { pid } = process
      refuseSelfWait(process, record)
      if (isStopped(pid)) warnOnce(`its supervisor (process ${pid}) is stopped; to let it go on: kill -CONT ${pid}`)
      if (performance.now() >= impatientAt) {
        wanted = { action: "kill" }
        impatientAt = Number.POSITIVE_INFINITY
        told = undefined
      }
      // A VM that is booted again is final in between, and has a supervisor all the same.
      const over = isFinal(record.state) && record.restart_at === null && !(doing === "supervise" && mayRestart(record))
      if (doing === "supervise" && told !== pid && !over) {
        const asked = askToStop(layout, process, wanted, () => findById(state.db, id)?.state ?? record.state)
        if (asked === "asked") told = pid
        // Another's limit holds, unless this one is over before.
        else if (wanted.timeout !== undefined) impatientAt = Math.min(impatientAt, performance.now() + wanted.timeout)
      }
      if (over) return proven(record, layout, journal)
    } else if (isFinal(record.state) && record.restart_at === null && record.handles === "[]") {
      const next = told === undefined ? undefined : bootedNext(state, record, told)
      if (next !== undefined) await stopKnown(state, next, request, tools, told)
      return proven(record, layout, journal)
    } else if (await stopHere(state, id, request, tools))
      return proven(findById(state.db, id) ?? record, layout, journal)
    if (holder.is === "held") patience.renew()
    else patience.spend()
    await awaitChange(layout, tools.interrupts.stop)
  }
  throw new Failure("FAILED", "interrupted: the VM goes on stopping if it has a supervisor", {
    exit: tools.interrupts.exitCode(),
  })
}

// --- internal ---

/** One that holds a VM's lock says who it is at once; one that does not in so many milliseconds is stuck. */
const LOCK_WAIT_MS = 10_000

function patienceWith({ lock }: VmLayout): { renew(): void; spend(): void } {
  let deadline = performance.now() + LOCK_WAIT_MS
  return {
    renew() {
      deadline = performance.now() + LOCK_WAIT_MS
    },
    spend() {
      if (performance.now() < deadline) return
      const hint = `find who holds it: fuser -v ${lock}; end it if it is stuck, then try again`
      throw new Failure("FAILED", `another process does not let go of ${lock}`, { hint })
    },
  }
}

/** The VM that a supervisor was booting in the place of one that has ended, when it was told to stop. */
function bootedNext(state: State, { id, name }: VmRecord, supervisor: number): VmRecord | undefined {
  const next = listUnfinished(state.db).find((one) => one.name === name && one.id !== id && !isFinal(one.state))
  if (next === undefined) return undefined
  using holder = lockHolder(vmLayout(state.where, next.id))
  return holder.is === "held" && holder.process.pid === supervisor ? next : undefined
}

/** In the place of a supervisor that is gone; false when another banger has the VM's lock. */
async function stopHere(state: State, id: string, request: StopRequest, tools: PluginHost): Promise<boolean> {
  const held = lockVmRecord(state, id, "finish")
  if (held === "gone") return true
  if (held === undefined) return false
  try {
    if (held.record.kept === 1 && isFinal(held.record.state)) throw keptForInspection(held.record)
    const taken = await takeOver(state, held, { stop: request }, tools)
    if (typeof taken === "object" && taken.unreleased !== undefined) throw taken.unreleased
    return true
  } finally {
    held.lock.unlock()
  }
}

function keptForInspection({ id, name }: VmRecord): Failure {
  return new Failure("FAILED", `${name} (${id}) is a failed start that was kept for inspection`, {
    hint: `to remove it: banger rm -f ${id}`,
  })
}

function proven(record: VmRecord, layout: VmLayout, journal: readonly Resource[]): VmRecord {
  proveAbsent(layout, journal)
  return record
}
