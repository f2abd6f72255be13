import { closeSync, openSync, readSync } from "node:fs"
import { errorCode } from "../linux/errors.ts"
import { type VmLayout, vmLayout } from "../state/places.ts"
import { findRecord, getRecord } from "../state/records.ts"
import { isFinal } from "../state/vmState.ts"
import { keptFrom } from "../vmm/console.ts"
import { awaitChange } from "./awaitChange.ts"
import { followConsole } from "./followConsole.ts"
import { openState } from "./session.ts"

const CHUNK = 64 * 1024

/** What of a VM's can be shown. */
export type Which = "console" | "vmm" | "events" | "supervisor"

/** What a VM wrote, oldest first, in chunks. Throws a failure when there is no such VM. */
export function* consoleOf(reference: string, which: Which): Generator<Uint8Array> {
  const { db, where } = openState()
  const layout = vmLayout(where, findRecord(db, reference).id)
  db.close()
  yield* chunksOf(pathOf(layout, which))
}

/** Shows what a VM wrote and goes on to its end; for one that has ended, that is at once. */
export async function followLogs(reference: string, which: Which, show: (chunk: Uint8Array) => void): Promise<void> {
  const { db, where } = openState()
  try {
    const { id } = findRecord(db, reference)
    const layout = vmLayout(where, id)
    const shown = followConsole(pathOf(layout, which), undefined, show)
    const never = new AbortController().signal
    while (!isFinal(getRecord(db, id).state)) await awaitChange(layout, never)
    shown.drain()
    shown.close()
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
      const buffer = new Uint8Array(CHUNK)
      const count = readSync(fd, buffer, 0, CHUNK, at)
      if (count === 0) return
      at += count
      yield buffer.subarray(0, count)
    }
  } finally {
    closeSync(fd)
  }
}
