import { mkdirSync, readdirSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { O, O_DIRECTORY } from "../linux/constants.ts"
import { errorCode } from "../linux/errors.ts"
import { openAt, renameAt, withDescriptor } from "../linux/files.ts"
import { AT_FDCWD } from "../linux/guards.ts"
import { Failure } from "../terms/failure.ts"
import { type Generation, previousOf, readHandles } from "./handles.ts"
import { mirrored, type VmRecord } from "./records.ts"

/** What is known of a VM's journal, and what was wrong with the places it was looked for in. */
export interface Recalled extends Generation {
  readonly troubles: readonly string[]
  /** Whether handles.json and the record both hold this generation. */
  readonly whole: boolean
}

/**
 * The newest generation of a VM's journal among handles.json, the one before it, and the record's mirror: each is
 * written before what it names is acquired. Nothing is changed. Throws a failure when none can be used: then nothing is
 * guessed.
 */
export function recall(record: VmRecord, handles: string): Recalled {
  const troubles: string[] = []
  const read = [handles, previousOf(handles)].map((path) => {
    const file = readHandles(path)
    if (file.is === "good") return file
    if (file.is === "bad") troubles.push(`${path} is not believed: ${file.why}`)
    return undefined
  })
  const mirror = mirrored(record)
  if (mirror === undefined) troubles.push(`the record of ${record.id} does not tell its journal`)
  const found = [...read, mirror].filter((generation) => generation !== undefined)
  const newest = found.toSorted((a, b) => b.generation - a.generation)[0]
  if (newest !== undefined) {
    const whole = read[0]?.generation === newest.generation && mirror?.generation === newest.generation
    return { ...newest, troubles, whole }
  }
  const hint = `look at ${dirname(handles)} and at what still runs, then remove it by hand`
  const what = `neither handles.json nor the record of ${record.id} can be read; nothing was removed`
  throw new Failure(`${what}\n${troubles.join("\n")}`, { hint })
}

/** Moves what stands in the place of handles.json, and is not to be believed, into `corrupt`; the last ten are kept. */
export function setAside(handles: string): void {
  for (const path of [handles, previousOf(handles)]) {
    if (readHandles(path).is !== "bad") continue
    const corrupt = join(dirname(handles), "corrupt")
    mkdirSync(corrupt, { recursive: true, mode: 0o700 })
    if (readdirSync(corrupt).length >= KEPT) continue
    moveInto(corrupt, path)
  }
}

// --- internal ---

/** So many are kept of files that were not believed; after that they stay where they are, and are written over. */
const KEPT = 10

function moveInto(corrupt: string, path: string): void {
  withDescriptor(openAt(AT_FDCWD, dirname(path), O.PATH | O_DIRECTORY), (from) =>
    withDescriptor(openAt(AT_FDCWD, corrupt, O.PATH | O_DIRECTORY), (to) => {
      try {
        renameAt(from, basename(path), to, `${basename(path)}.${Date.now()}.${process.pid}`)
      } catch (error) {
        // Somebody else was first.
        if (errorCode(error) !== "ENOENT") throw error
      }
    }),
  )
}
