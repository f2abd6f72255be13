import type { Database } from "bun:sqlite"
import * as v from "valibot"
import { Failure } from "../../base/terms/failure.ts"
import { nearest } from "../../base/terms/nearest.ts"
import { durably, write } from "./database.ts"
import { type Generation, journalSchema, type ProcessIdentity, processIdentitySchema } from "./handles.ts"
import { isFinal, TRANSITIONS, type VmState, vmStateSchema } from "./vmState.ts"

const columns = v.object({
  id: v.string(),
  name: v.string(),
  state: vmStateSchema,
  vmm: v.string(),
  boot_id: v.string(),
  plugin_path: v.string(),
  plugin_sha256: v.string(),
  spec: v.string(),
  handles: v.string(),
  generation: v.number(),
  exit: v.nullable(v.string()),
  request: v.string(),
  /** How many postStop hooks were begun, and how many of these are done. */
  post_stop_begun: v.number(),
  post_stop_done: v.number(),
  created_at: v.number(),
  updated_at: v.number(),
  running_at: v.nullable(v.number()),
  ended_at: v.nullable(v.number()),
  /** When its supervisor means to boot a VM of this name again. */
  restart_at: v.nullable(v.number()),
  kept: v.number(),
  /** The snapshot that holds all of its memory but what the VMM has tracked as changed since. */
  baseline: v.nullable(v.string()),
})

/** The user that root's helper runs a VM for, by its request. */
const OWNER = "case when json_valid(request) then json_extract(request, '$.owner') end"

const rowSchema = v.pipe(
  columns,
  v.transform(({ kept, ...row }) => ({
    ...row,
    /** A failed start that was left as it is, for inspection. */
    keptForInspection: kept === 1,
  })),
)

/** Of all resources only processes have an identity. */
const mirroredProcessSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.array(v.object({ identity: v.optional(v.nullable(processIdentitySchema)) })),
)

/**
 * A VM's row in the state database; times are milliseconds since the epoch. `spec`, `exit` and `request` are JSON texts
 * of the layers that know their shape.
 */
export type VmRecord = v.InferOutput<typeof rowSchema>

/** What a new record needs; it starts in state `creating` with an empty journal. */
export type NewRecord = Pick<
  VmRecord,
  "id" | "name" | "vmm" | "boot_id" | "plugin_path" | "plugin_sha256" | "spec" | "request"
>

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
      const hint = `choose another with --name, or end it: banger stop ${taken.id}`
      const message = `the name ${record.name} is taken by VM ${taken.id} (${taken.state})`
      throw new Failure("IN_USE", message, { hint, subject: record.name })
    }
    db.query(
      `insert into vms
         (id, name, state, vmm, boot_id, plugin_path, plugin_sha256, spec, request, handles, created_at, updated_at)
       values ($id, $name, 'creating', $vmm, $boot_id, $plugin_path, $plugin_sha256, $spec, $request, '[]', $now, $now)`,
    ).run({ ...record, now })
  })
  write(db, insert.immediate)
}

/** A move to another state, and how the VM ended, where that is known. */
export interface StateChange {
  readonly to: VmState
  readonly exit?: unknown
}

/**
 * Moves a VM to another state in one transaction. That it runs outlives a loss of power: a failed start ends otherwise. Throws when
 * the table of transitions does not have the move.
 */
export function changeState(db: Database, id: string, { to, exit }: StateChange): void {
  const change = db.transaction(() => {
    const { state: from, name } = getRecord(db, id)
    if (!TRANSITIONS[from].includes(to))
      throw new Failure("WRONG_STATE", `VM ${id} is ${from} and cannot become ${to}`, { subject: id })
    const text = exit === undefined ? null : JSON.stringify(exit)
    const now = Date.now()
    const runningAt = to === "running" ? now : null
    const endedAt = isFinal(to) ? now : null
    db.query(
      `update vms set state = ?, exit = coalesce(?, exit), running_at = coalesce(?, running_at),
         ended_at = coalesce(?, ended_at), updated_at = ? where id = ?`,
    ).run(to, text, runningAt, endedAt, now, id)
    // A user's stop of one before it is over; what root's helper runs for a user ends no stop of root's.
    if (to === "running")
      db.query(
        `delete from stops where name = ?1
           and not exists (select 1 from vms where id = ?2 and ${OWNER} is not null)`,
      ).run(name, id)
  })
  const make = () => write(db, change.immediate)
  if (to === "running") durably(db, make)
  else make()
}

/** Mirrors a generation of the journal on the record; `lasting`: the record outlives a loss of power then. */
export function mirrorJournal(
  db: Database,
  id: string,
  { generation, journal, lasting = false }: Generation & { readonly lasting?: boolean },
): void {
  const update = db.query("update vms set handles = ?, generation = ?, updated_at = ? where id = ?")
  const mirror = () => write(db, () => update.run(JSON.stringify(journal), generation, Date.now(), id))
  if (lasting) durably(db, mirror)
  else mirror()
}

/** The generation of the journal that is mirrored on a record, or undefined when it cannot be read. */
export function mirrored(record: VmRecord): Generation | undefined {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), journalSchema), record.handles)
  return parsed.success ? { generation: record.generation, journal: parsed.output } : undefined
}

/**
 * The VMM's process that is mirrored on a record, if there is one: quick, for a look at many. It may be older than what
 * handles.json names.
 */
export function mirroredProcess({ handles }: VmRecord): ProcessIdentity | undefined {
  const parsed = v.safeParse(mirroredProcessSchema, handles)
  return parsed.success ? (parsed.output.find(({ identity }) => identity)?.identity ?? undefined) : undefined
}

/** Whether a VM has ended and released everything on its journal. */
export function holdsNothing(record: VmRecord): boolean {
  return isFinal(record.state) && mirrored(record)?.journal.length === 0
}

/** The record with exactly this id, if there is one. */
export function findById(db: Database, id: string): VmRecord | undefined {
  const row = db.query("select * from vms where id = ?").get(id)
  return row ? v.parse(rowSchema, row) : undefined
}

/** The newest record with exactly this name, if there is one. */
export function findNewest(db: Database, name: string): VmRecord | undefined {
  const row = db.query("select * from vms where name = ? order by created_at desc, rowid desc limit 1").get(name)
  return row ? v.parse(rowSchema, row) : undefined
}

/** Whether a VM is on record, and has not ended. */
export function isUnfinished(db: Database, id: string): boolean {
  const record = findById(db, id)
  return record !== undefined && !isFinal(record.state)
}

/** The record with exactly this id. Throws a failure when no VM has it. */
export function getRecord(db: Database, id: string): VmRecord {
  const record = findById(db, id)
  if (record === undefined)
    throw new Failure("NO_SUCH_VM", `no VM ${id}`, { hint: "banger ps -a lists what is here", subject: id })
  return record
}

/** All records, newest first. */
export function listRecords(db: Database): readonly VmRecord[] {
  const rows = db.query("select * from vms order by created_at desc, rowid desc").all()
  return rows.map((row) => v.parse(rowSchema, row))
}

/** The ids of all records, also of those that cannot be read. */
export function listRecordIds(db: Database): ReadonlySet<string> {
  const rows = db.query<{ id: string }, []>("select id from vms").all()
  return new Set(rows.map(({ id }) => id))
}

/**
 * The records of VMs that have not ended, still hold a resource, or will be booted again; newest first. `name`: only those that
 * have it.
 */
export function listUnfinished(db: Database, name?: string): readonly VmRecord[] {
  const rows = db
    .query(
      `select * from vms where (state not in ('stopped', 'failed') or handles <> '[]' or restart_at is not null)
         and name = coalesce(?, name) order by created_at desc, rowid desc`,
    )
    .all(name ?? null)
  return rows.map((row) => v.parse(rowSchema, row))
}

/** Whether a VM's record says that it runs: of one that is being started, or ends, not all is there. */
export function isUpIn(db: Database): (id: string) => boolean {
  const rows = db.query<{ id: string }, []>("select id from vms where state = 'running'").all()
  const up = new Set(rows.map(({ id }) => id))
  return (id) => up.has(id)
}

/**
 * The records of VMs of an owner (undefined: those that root's helper ran for no user) that have ended and hold nothing, but for the
 * `kept` that were changed last; those first that were changed last.
 */
export function listOldest(db: Database, kept: number, owner: number | undefined): readonly VmRecord[] {
  const rows = db
    .query(
      `select * from vms where state in ('stopped', 'failed') and handles = '[]'
         and ${OWNER} is ? order by updated_at desc, rowid desc limit -1 offset ?`,
    )
    .all(owner ?? null, kept)
  return rows.map((row) => v.parse(rowSchema, row))
}

/**
 * The VM that a user means: by id, by name (the live one, else the newest), or by a prefix of one id that reaches past its
 * last hyphen. Throws NO_SUCH_VM, with the nearest name, when no VM matches, and USAGE when several do.
 */
export function findRecord(db: Database, reference: string): VmRecord {
  const rows = db
    .query("select * from vms where id = ?1 or name = ?1 order by created_at desc, rowid desc")
    .all(reference)
  const named = rows.map((row) => v.parse(rowSchema, row))
  const exact = named.find((record) => record.id === reference) ?? named.find((r) => !isFinal(r.state)) ?? named[0]
  if (exact) return exact
  const all = listRecords(db)
  // An id begins with its VM's name. A prefix that ends within the name could mean a VM of a longer name.
  const matches = all.filter(({ id }) => id.startsWith(reference) && reference.length > id.lastIndexOf("-") + 1)
  const [only, second] = matches
  if (only && !second) return only
  if (second) {
    const hint = `it begins ${matches.map((record) => record.id).join(", ")}`
    throw new Failure("USAGE", `${reference} is ambiguous`, { hint, subject: reference })
  }
  const names = [...new Set(all.map((record) => record.name))]
  throw new Failure("NO_SUCH_VM", `no VM ${JSON.stringify(reference)}`, {
    hint: whichThereAre(reference, names),
    subject: reference,
  })
}

/**
 * As `findRecord`, of an earlier boot of the same name: `back` 1 is the one before. Throws NO_SUCH_VM where there were not so many, or
 * they are forgotten.
 */
export function findBoot(db: Database, reference: string, back: number): VmRecord {
  const record = findRecord(db, reference)
  const rows = db
    .query(
      `select * from vms where name = ?1 and ${OWNER} is (select ${OWNER} from vms where id = ?2)
         order by created_at desc, rowid desc`,
    )
    .all(record.name, record.id)
  const boots = rows.map((row) => v.parse(rowSchema, row))
  const found = boots[boots.findIndex(({ id }) => id === record.id) + back]
  if (found !== undefined) return found
  const hint = "to list its boots: banger ps -a"
  throw new Failure("NO_SUCH_VM", `${record.name} has no boot ${-back}`, { hint, subject: reference })
}

/** Forgets a VM: the last step of removing it. */
export function deleteRecord(db: Database, id: string): void {
  write(db, () => db.query("delete from vms where id = ?").run(id))
}

// --- internal ---

/** Of more VMs than these only the list is named. */
const NAMED_COUNT = 5

function whichThereAre(reference: string, names: readonly string[]): string {
  const near = nearest(reference, names)
  if (near !== undefined) return `did you mean ${near}?`
  if (names.length === 0) return "there is no VM here; each user sees their own, and root root's"
  return names.length > NAMED_COUNT ? "to list them: banger ps -a" : `there are: ${names.join(", ")}`
}
