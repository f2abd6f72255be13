import type { Database } from "bun:sqlite"
import * as v from "valibot"
import { Failure } from "../../base/terms/failure.ts"

const holderSchema = v.object({ disk: v.string(), id: v.string(), name: v.string(), state: v.string() })

/** The VM that has a disk. */
export type DiskHolder = v.InferOutput<typeof holderSchema>

/**
 * Claims disks for a VM, which has a record, in one transaction: of two that claim one at once, one has it. Throws IN_USE, with
 * nothing claimed, where another VM has one of them. A claim counts until its VM has ended and released all that it held.
 */
export function claimDisks(db: Database, vm: string, disks: readonly string[]): void {
  if (disks.length === 0) return
  const claim = db.transaction(() => {
    db.query(`delete from disk_claims where ${VOID}`).run()
    requireUnclaimed(db, disks, vm)
    const add = db.query("insert or replace into disk_claims (disk, vm, claimed_at) values (?, ?, ?)")
    for (const disk of disks) add.run(disk, vm, Date.now())
  })
  claim.immediate()
}

/** Throws IN_USE where a VM other than `vm` has one of these disks. Nothing is claimed. */
export function requireUnclaimed(db: Database, disks: readonly string[], vm?: string): void {
  for (const holder of listHolders(db)) {
    if (!disks.includes(holder.disk) || holder.id === vm) continue
    const { disk, id, name, state } = holder
    const ended = state === "stopped" || state === "failed"
    const hint = ended
      ? `it has ended; to remove what is left of it: banger rm -f ${id}`
      : `end it first: banger stop ${id}`
    throw new Failure("IN_USE", `the disk ${disk} is in use by VM ${id} (${name}, ${state})`, { hint, subject: id })
  }
}

/** Which VM has which disk. */
export function listHolders(db: Database): readonly DiskHolder[] {
  const rows = db
    .query(`select disk, id, name, state from disk_claims join vms on vms.id = vm where not (${VOID}) order by disk`)
    .all()
  return rows.map((row) => v.parse(holderSchema, row))
}

/**
 * Gives back a VM's claim once `work` is done, in one transaction: nobody claims the disk meanwhile. Where another VM has the
 * disk by now, neither is done.
 */
export function freeClaim(
  db: Database,
  { disk, vm }: { readonly disk: string; readonly vm: string },
  work: () => void,
): void {
  const free = db.transaction(() => {
    const row = db.query<{ vm: string }, [string]>("select vm from disk_claims where disk = ?").get(disk)
    if (row !== null && row.vm !== vm) return
    work()
    db.query("delete from disk_claims where disk = ? and vm = ?").run(disk, vm)
  })
  free.immediate()
}

// --- internal ---

/** Its VM is gone, or has ended and holds nothing: then its VMM is proven gone. */
const VOID = "vm not in (select id from vms where state not in ('stopped', 'failed') or handles <> '[]')"
