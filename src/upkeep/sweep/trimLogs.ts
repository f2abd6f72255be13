import { isFull, keepBelow } from "../../store/logs/boundedFile.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { findById } from "../../store/state/records.ts"
import { consoleLimitOf } from "../../supervisor/reload.ts"
import { lockVm } from "../../vm/lock.ts"
import { VMM_LOG_MAX_BYTES } from "../../vm/machine.ts"

/**
 * Keeps the logs of a VM that runs without a supervisor below their limits: cuts off the older half of a full one. Returns
 * how many bytes that were. Does nothing while another banger has the VM locked: a supervisor does this by itself.
 */
export function trimLogs(state: State, id: string): number {
  const record = findById(state.db, id)
  if (record === undefined) return 0
  const layout = vmLayout(state.where, id)
  const { consoleLog, vmmLog, firecrackerLog, firecrackerMetrics } = layout
  const full = [
    { path: consoleLog, limit: consoleLimitOf(record) },
    ...[vmmLog, firecrackerLog, firecrackerMetrics].map((path) => ({ path, limit: VMM_LOG_MAX_BYTES })),
  ].filter(({ path, limit }) => isFull(path, limit))
  const lock = full.length === 0 ? undefined : lockVm(layout, "finish")
  if (lock === undefined) return 0
  try {
    return full.reduce((sum, { path, limit }) => sum + keepBelow(path, limit), 0)
  } finally {
    lock.unlock()
  }
}
