import type { Database } from "bun:sqlite"
import * as v from "valibot"
import { durably } from "./database.ts"

const rowSchema = v.object({
  snapshot: v.string(),
  vm: v.string(),
  name: v.string(),
  claimed_at: v.number(),
  /** When its guest was about to run; null until then. */
  ran_at: v.nullable(v.number()),
})

/** A VM that was made from a snapshot; times are milliseconds since the epoch. */
export type Restore = v.InferOutput<typeof rowSchema>

/** Which VM goes on from which snapshot. */
export interface Claim {
  readonly snapshot: string
  readonly vm: string
  readonly name: string
  /** Whether there may be a restore already. */
  readonly again: boolean
}

/**
 * Claims a snapshot for a VM, which has a record, in one transaction: of two that claim it at once, one has it. Returns the
 * restore that is in the way, with nothing claimed. A restore whose VM has ended before its guest could run counts no more.
 */
export function claimRestore(db: Database, { snapshot, vm, name, again }: Claim): Restore | undefined {
  const claim = db.transaction(() => {
    db.query(`delete from restores where ${VOID}`).run()
    const first = db.query("select * from restores where snapshot = ? order by claimed_at, rowid").get(snapshot)
    if (first !== null && !again) return v.parse(rowSchema, first)
    db.query("insert into restores (snapshot, vm, name, claimed_at) values (?, ?, ?, ?)").run(
      ...[snapshot, vm, name, Date.now()],
    )
    return undefined
  })
  return durably(db, claim.immediate)
}

/** The restore of a snapshot whose guest ran, if there is one. */
export function findRestored(db: Database, snapshot: string): Restore | undefined {
  const query = "select * from restores where snapshot = ? and ran_at is not null order by claimed_at, rowid"
  const first = db.query(query).get(snapshot)
  return first === null ? undefined : v.parse(rowSchema, first)
}

/** Whether a VM goes on from a snapshot. */
export function isRestore(db: Database, vm: string): boolean {
  return db.query("select 1 from restores where vm = ?").get(vm) !== null
}

/** Notes that a VM's restored guest is about to run, before it does: from here on its snapshot counts as restored, for good. */
export function noteRestored(db: Database, vm: string): void {
  const note = db.transaction(() => {
    // One for each snapshot is enough, however many clones are made.
    const counted =
      "select 1 from restores as other where other.snapshot = restores.snapshot and other.ran_at is not null"
    db.query(`delete from restores where vm = ? and exists (${counted} and other.vm <> restores.vm)`).run(vm)
    db.query("update restores set ran_at = ? where vm = ?").run(Date.now(), vm)
  })
  durably(db, note.immediate)
}

/**
 * Changes which snapshot a VM's next one may be written on, unless it is no longer `from`: somebody else has saved the VM
 * meanwhile. Tells whether it was changed; `from` undefined: in any case.
 */
export function moveBaseline(
  db: Database,
  vm: string,
  { from, to }: { readonly from?: string | undefined; readonly to: string },
): boolean {
  const move = db.query("update vms set baseline = $to where id = $vm and ($from is null or baseline = $from)")
  return move.run({ vm, to, from: from ?? null }).changes === 1
}

// --- internal ---

/** Its guest never ran, and never will: its VM has ended, or is not on record. */
const VOID =
  "ran_at is null and vm not in (select id from vms where state not in ('stopped', 'failed') or running_at is not null)"
