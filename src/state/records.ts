import { type Database, SQLiteError } from "bun:sqlite"
import * as v from "valibot"
import { Failure, usage } from "../terms/failure.ts"
import { nearest } from "../terms/nearest.ts"
import { journalSchema, type Resource } from "./handles.ts"
import { isFinal, TRANSITIONS, type VmState, vmStateSchema } from "./vmState.ts"

const rowSchema = v.object({
  id: v.string(),
  name: v.string(),
  state: vmStateSchema,
  vmm: v.string(),
  boot_id: v.string(),
  plugin_path: v.string(),
  plugin_sha256: v.string(),
  spec: v.string(),
  handles: v.string(),
  exit: v.nullable(v.string()),
  created_at: v.number(),
  updated_at: v.number(),
})

/** A VM's row in the state database. `spec` and `exit` are JSON texts of the layers that know their shape. */
export type VmRecord = v.InferOutput<typeof rowSchema>

/** What a new record needs; it starts in state `creating` with an empty journal. */
export type NewRecord = Omit<VmRecord, "state" | "handles" | "exit" | "created_at" | "updated_at">

/** Adds a record in one transaction. Throws a failure when a live VM has the name. */
export function insertRecord(db: Database, record: NewRecord): void {
  const now = Date.now()
  const insert = db.transaction(() => {
    const taken = db
      .query<{ id: string; state: string }, [string]>(
        "select id, state from vms where name = ? and state not in ('stopped', 'failed')",
      )
      .get(record.name)
    if (taken) {
      const hint = `choose another with --name, or if it is a leftover of a crash: banger rm -f ${taken.id}`
      throw new Failure(`the name ${record.name} is taken by VM ${taken.id} (${taken.state})`, { hint })
    }
    db.query(
      `insert into vms (id, name, state, vmm, boot_id, plugin_path, plugin_sha256, spec, handles, created_at, updated_at)
       values ($id, $name, 'creating', $vmm, $boot_id, $plugin_path, $plugin_sha256, $spec, '[]', $now, $now)`,
    ).run({ ...record, now })
  })
  write(db, insert.immediate)
}

/** Moves a VM to another state in one transaction. Throws when the table of transitions does not have the move. */
export function changeState(db: Database, id: string, to: VmState, exit?: unknown): void {
  const change = db.transaction(() => {
    const from = getRecord(db, id).state
    if (!TRANSITIONS[from].includes(to)) throw new Failure(`VM ${id} is ${from} and cannot become ${to}`)
    const text = exit === undefined ? null : JSON.stringify(exit)
    db.query("update vms set state = ?, exit = coalesce(?, exit), updated_at = ? where id = ?").run(
      to,
      text,
      Date.now(),
      id,
    )
  })
  write(db, change.immediate)
}

/** Mirrors the journal on the record. */
export function mirrorJournal(db: Database, id: string, journal: readonly Resource[]): void {
  const update = db.query("update vms set handles = ?, updated_at = ? where id = ?")
  write(db, () => update.run(JSON.stringify(journal), Date.now(), id))
}

/** The journal mirrored on a record, or undefined when it cannot be read. */
export function mirroredJournal(record: VmRecord): readonly Resource[] | undefined {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), journalSchema), record.handles)
  return parsed.success ? parsed.output : undefined
}

/** The record with exactly this id. Throws a failure when there is none. */
export function getRecord(db: Database, id: string): VmRecord {
  const row = db.query("select * from vms where id = ?").get(id)
  if (!row) throw new Failure(`no VM ${id}`)
  return v.parse(rowSchema, row)
}

/** All records, newest first. */
export function listRecords(db: Database): readonly VmRecord[] {
  const rows = db.query("select * from vms order by created_at desc, rowid desc").all()
  return rows.map((row) => v.parse(rowSchema, row))
}

/**
 * The VM a user means: by id, by name (the live one, else the newest), or by a prefix of exactly one id. Throws a
 * usage failure, with the nearest name, when there is none or more than one.
 */
export function findRecord(db: Database, reference: string): VmRecord {
  const all = listRecords(db)
  const named = all.filter((record) => record.name === reference)
  const exact = all.find((record) => record.id === reference) ?? named.find((r) => !isFinal(r.state)) ?? named[0]
  if (exact) return exact
  const matches = reference === "" ? [] : all.filter((record) => record.id.startsWith(reference))
  const [only, second] = matches
  if (only && !second) return only
  if (second) throw usage(`${reference} is ambiguous`, `it begins ${matches.map((record) => record.id).join(", ")}`)
  const near = nearest(reference, [...new Set(all.map((record) => record.name))])
  throw usage(
    `no VM ${JSON.stringify(reference)}`,
    near === undefined ? "no VM was run here yet, or it was removed" : `did you mean ${near}?`,
  )
}

/** Forgets a VM: the last step of removing it. */
export function deleteRecord(db: Database, id: string): void {
  write(db, () => db.query("delete from vms where id = ?").run(id))
}

// --- internal ---

/** Runs a write; what SQLite says of a failed one does not name the file. */
function write(db: Database, work: () => unknown): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof SQLiteError)) throw error
    const hint = "check the space left on its disk, and its owner"
    throw new Failure(`${db.filename} cannot be written: ${error.message}`, { hint, cause: error })
  }
}
