import { followConsole } from "../store/logs/consoleView.ts"
import { readGrowing, type Tail } from "../store/logs/growing.ts"
import { type WholeLines, wholeLines } from "../store/logs/wholeLines.ts"
import { openState, openStateToLook } from "../store/state/open.ts"
import { type VmLayout, vmLayout } from "../store/state/places.ts"
import { findBoot, findRecord, isUnfinished } from "../store/state/records.ts"
import { awaitChange } from "../vm/awaitChange.ts"
import { refuseIfSelfWait } from "../vm/selfWait.ts"

/** What of a VM's can be shown. */
export type Which = "console" | "vmm" | "events" | "supervisor"

/**
 * Shows what a VM wrote by now, from `tail` of each of its files on, oldest first, until `show` says that nobody reads. Throws a failure when there is no such
 * VM.
 */
export function showLogs(
  reference: string,
  which: Which,
  {
    show,
    warn,
    tail,
  }: {
    readonly show: (chunk: Uint8Array) => boolean
    readonly warn: (text: string) => void
    readonly tail?: Tail | undefined
  },
): void {
  for (const path of pathsOf(layoutOf(reference, warn), which)) {
    const file = readGrowing(path, tail)
    const lines = which === "vmm" ? wholeLines(show) : plain(show)
    try {
      if (!file.drain((chunk) => (lines.write(chunk) ? chunk.length : 0))) return
      lines.end()
    } finally {
      file.close()
    }
  }
}

/**
 * Shows what a VM wrote and will write, to its end or until `show` says, or `unread` tells, that nobody reads; for one that has ended, that is at
 * once.
 */
export async function followLogs(
  reference: string,
  which: Which,
  {
    show,
    unread,
    tail,
  }: {
    readonly show: (chunk: Uint8Array) => boolean
    readonly unread: AbortSignal
    readonly tail?: Tail | undefined
  },
): Promise<void> {
  using state = openState()
  const { db, where } = state
  const record = findRecord(db, reference)
  const layout = vmLayout(where, record.id)
  const over = new AbortController()
  unread.addEventListener("abort", () => over.abort())
  const print = (chunk: Uint8Array) => {
    if (!over.signal.aborted && !show(chunk)) over.abort()
    return !over.signal.aborted
  }
  const files = pathsOf(layout, which).map((path) => {
    const lines = which === "vmm" ? wholeLines(print) : plain(print)
    const shown = followConsole(path, tail, (chunk) => {
      lines.write(chunk)
      return chunk.length
    })
    return { shown, lines }
  })
  try {
    while (!over.signal.aborted && isUnfinished(db, record.id)) {
      refuseIfSelfWait(layout, record)
      await awaitChange(layout, over.signal)
    }
    for (const { shown, lines } of files) {
      shown.drain()
      lines.end()
    }
  } finally {
    for (const { shown } of files) shown.close()
  }
}

/** The id of an earlier boot of a VM, 1 the one before. Throws NO_SUCH_VM where there is none. */
export function idOfBoot(reference: string, back: number, warn: (text: string) => void): string {
  using state = openStateToLook(warn)
  return findBoot(state.db, reference, back).id
}

// --- internal ---

/** A slow reader must not keep the database open. */
function layoutOf(reference: string, warn: (text: string) => void): VmLayout {
  using state = openStateToLook(warn)
  return vmLayout(state.where, findRecord(state.db, reference).id)
}

/** The VMM's own messages are two files: Firecracker's log, and what its program and the jailer printed. */
function pathsOf(layout: VmLayout, which: Which): readonly string[] {
  const { consoleLog, firecrackerLog, vmmLog, events, supervisorLog } = layout
  const files = { console: [consoleLog], vmm: [firecrackerLog, vmmLog], events: [events], supervisor: [supervisorLog] }
  return files[which]
}

/** One file is shown as it is. */
function plain(show: (bytes: Uint8Array) => boolean): WholeLines {
  return { write: show, end: () => {} }
}
