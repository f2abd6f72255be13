import { mkdirSync, readdirSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import * as v from "valibot"
import { O, O_DIRECTORY } from "../../base/linux/constants.ts"
import { ignoring } from "../../base/linux/errors.ts"
import { openAt, renameAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"
import { type Handles, journalSchema, previousOf, readHandles } from "./handles.ts"
import { mirrored, type VmRecord } from "./records.ts"

/** What is known of a VM's journal, and what was wrong with its copies. */
export const recalledSchema = v.strictObject({
  generation: v.number(),
  journal: v.pipe(journalSchema, v.readonly()),
  troubles: v.pipe(v.array(v.string()), v.readonly()),
  /** Whether handles.json and the record both hold this generation. */
  whole: v.boolean(),
})
export type Recalled = Readonly<v.InferOutput<typeof recalledSchema>>

/**
 * The newest generation of a VM's journal among handles.json, the one before it, and the record's mirror. Each copy is
 * written before the resource that it names is acquired, so the newest names everything. Changes nothing. Throws a failure
 * when no copy can be used, and guesses nothing.
 */
export function recall(record: VmRecord, handles: string): Recalled {
  const file = readHandles(handles)
  // Nearly always both copies are the same, and nothing else needs a look.
  if (file.is === "good" && file.generation === record.generation && JSON.stringify(file.journal) === record.handles)
    return { generation: file.generation, journal: file.journal, troubles: [], whole: true }
  return recallFromAll(record, handles, file)
}

/** Moves a handles.json that must not be believed into `corrupt`; the first ten are kept. */
export function setAside(handles: string): void {
  for (const path of [handles, previousOf(handles)]) {
    if (readHandles(path).is !== "bad") continue
    const corrupt = join(dirname(handles), "corrupt")
    mkdirSync(corrupt, { recursive: true, mode: 0o700 })
    if (readdirSync(corrupt).length >= SET_ASIDE_MAX_COUNT) continue
    moveInto(corrupt, path)
  }
}

// --- internal ---

function recallFromAll(record: VmRecord, handles: string, file: Handles): Recalled {
  const troubles: string[] = []
  const before = readHandles(previousOf(handles))
  for (const [path, read] of [
    [handles, file],
    [previousOf(handles), before],
  ] as const)
    if (read.is === "bad") troubles.push(`${path} is not believed: ${read.why}`)
  const mirror = mirrored(record)
  if (mirror === undefined) troubles.push(`the record of ${record.id} does not tell its journal`)
  const found = [...[file, before].filter((read) => read.is === "good"), ...(mirror === undefined ? [] : [mirror])]
  const newest = found.toSorted((a, b) => b.generation - a.generation)[0]
  if (newest !== undefined) {
    const whole = file.is === "good" && file.generation === newest.generation && mirror?.generation === file.generation
    return { generation: newest.generation, journal: newest.journal, troubles, whole }
  }
  const hint = `look at ${dirname(handles)} and at what still runs, then remove it by hand`
  const what = `neither handles.json nor the record of ${record.id} can be read; nothing was removed`
  throw new Failure("BAD_STATE", `${what}\n${troubles.join("\n")}`, { hint, subject: record.id })
}

/** So many damaged files are kept; later ones stay where they are, and are overwritten. */
const SET_ASIDE_MAX_COUNT = 10

function moveInto(corrupt: string, path: string): void {
  withDescriptor(openAt(AT_FDCWD, dirname(path), O.PATH | O_DIRECTORY), (from) =>
    withDescriptor(openAt(AT_FDCWD, corrupt, O.PATH | O_DIRECTORY), (to) =>
      // ENOENT: another process was first.
      ignoring(["ENOENT"], () => renameAt(from, basename(path), to, `${basename(path)}.${Date.now()}.${process.pid}`)),
    ),
  )
}
