import { followConsole } from "../store/logs/consoleView.ts"
import { readGrowing } from "../store/logs/growing.ts"
import { openState, openStateToLook } from "../store/state/open.ts"
import { type VmLayout, vmLayout } from "../store/state/places.ts"
import { findRecord, isUnfinished } from "../store/state/records.ts"
import { awaitChange } from "../vm/awaitChange.ts"
import { refuseIfSelfWait } from "../vm/selfWait.ts"

/** What of a VM's can be shown. */
export type Which = "console" | "vmm" | "events" | "supervisor"

/**
 * Shows what a VM wrote by now, oldest first, until `show` says that nobody reads. Throws a failure when there is no such
 * VM.
 */
export function showLogs(
  reference: string,
  which: Which,
  { show, warn }: { readonly show: (chunk: Uint8Array) => boolean; readonly warn: (text: string) => void },
): void {
  const file = readGrowing(pathOf(layoutOf(reference, warn), which))
  try {
    file.drain((chunk) => (show(chunk) ? chunk.length : 0))
  } finally {
    file.close()
  }
}

/**
 * Shows what a VM wrote and will write, to its end or until `show` says that nobody reads; for one that has ended, that is at
 * once.
 */
export async function followLogs(reference: string, which: Which, show: (chunk: Uint8Array) => boolean): Promise<void> {
  using state = openState()
  const { db, where } = state
  const record = findRecord(db, reference)
  const layout = vmLayout(where, record.id)
  const over = new AbortController()
  const shown = followConsole(pathOf(layout, which), undefined, (chunk) => {
    if (!over.signal.aborted && !show(chunk)) over.abort()
    return chunk.length
  })
  try {
    while (!over.signal.aborted && isUnfinished(db, record.id)) {
      refuseIfSelfWait(layout, record)
      await awaitChange(layout, over.signal)
    }
    shown.drain()
  } finally {
    shown.close()
  }
}

// --- internal ---

/** A slow reader must not keep the database open. */
function layoutOf(reference: string, warn: (text: string) => void): VmLayout {
  using state = openStateToLook(warn)
  return vmLayout(state.where, findRecord(state.db, reference).id)
}

function pathOf({ consoleLog, vmmLog, events, supervisorLog }: VmLayout, which: Which): string {
  return { console: consoleLog, vmm: vmmLog, events, supervisor: supervisorLog }[which]
}
