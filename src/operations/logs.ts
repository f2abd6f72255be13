import { closeSync, openSync, readSync } from "node:fs"
import { errorCode } from "../base/linux/errors.ts"
import { keptFrom } from "../store/logs/boundedFile.ts"
import { followConsole } from "../store/logs/consoleView.ts"
import { openState, openStateToLook } from "../store/state/open.ts"
import { type VmLayout, vmLayout } from "../store/state/places.ts"
import { findRecord, isUnfinished } from "../store/state/records.ts"
import { awaitChange } from "../vm/awaitChange.ts"
import { refuseIfSelfWait } from "../vm/selfWait.ts"

const CHUNK_BYTES = 64 * 1024

/** What of a VM's can be shown. */
export type Which = "console" | "vmm" | "events" | "supervisor"

/** What a VM wrote, oldest first, in chunks. Throws a failure when there is no such VM. */
export function* consoleOf(reference: string, which: Which, warn: (text: string) => void): Generator<Uint8Array> {
  const { db, where } = openStateToLook(warn)
  const layout = vmLayout(where, findRecord(db, reference).id)
  db.close()
  yield* chunksOf(pathOf(layout, which))
}

/**
 * Shows what a VM wrote and goes on to its end, or until `show` says that nobody reads; for one that has ended, that is at
 * once.
 */
export async function followLogs(reference: string, which: Which, show: (chunk: Uint8Array) => boolean): Promise<void> {
  const { db, where } = openState()
  try {
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
  } finally {
    db.close()
  }
}

// --- internal ---

function pathOf({ consoleLog, vmmLog, events, supervisorLog }: VmLayout, which: Which): string {
  return { console: consoleLog, vmm: vmmLog, events, supervisor: supervisorLog }[which]
}

function* chunksOf(path: string): Generator<Uint8Array> {
  let fd: number
  try {
    fd = openSync(path, "r")
  } catch (error) {
    // A VM that never came to write anything.
    if (errorCode(error) === "ENOENT") return
    throw error
  }
  try {
    for (let at = 0; ; ) {
      at = keptFrom(fd, at)
      const buffer = new Uint8Array(CHUNK_BYTES)
      const count = readSync(fd, buffer, 0, CHUNK_BYTES, at)
      if (count === 0) return
      at += count
      yield buffer.subarray(0, count)
    }
  } finally {
    closeSync(fd)
  }
}
