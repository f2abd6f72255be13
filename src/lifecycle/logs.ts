import { closeSync, openSync, readSync } from "node:fs"
import { errorCode } from "../linux/errors.ts"
import { vmLayout } from "../state/places.ts"
import { findRecord } from "../state/records.ts"
import { keptFrom } from "../vmm/console.ts"
import { openState } from "./session.ts"

const CHUNK = 64 * 1024

/** What a VM wrote, oldest first, in chunks. Throws a failure when there is no such VM. */
export function* consoleOf(reference: string, which: "console" | "vmm" | "events"): Generator<Uint8Array> {
  const { db, where } = openState()
  const layout = vmLayout(where, findRecord(db, reference).id)
  db.close()
  const path = { console: layout.consoleLog, vmm: layout.vmmLog, events: layout.events }[which]
  yield* chunksOf(path)
}

// --- internal ---

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
