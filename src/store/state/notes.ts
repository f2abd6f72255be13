import type { Database } from "bun:sqlite"
import { durably, write } from "./database.ts"

/** Notes how many postStop hooks were begun, or are done. */
export function notePostStop(
  db: Database,
  id: string,
  { what, count }: { readonly what: "begun" | "done"; readonly count: number },
): void {
  write(db, () => db.query(`update vms set post_stop_${what} = ? where id = ?`).run(count, id))
}

/** Notes that a failed start is left as it is until somebody removes it. */
export function noteKept(db: Database, id: string): void {
  write(db, () => db.query("update vms set kept = 1 where id = ?").run(id))
}

/** Notes when the supervisor means to boot a VM of this name again; null: it does not. */
export function noteRestart(db: Database, id: string, at: number | null): void {
  write(db, () => db.query("update vms set restart_at = ? where id = ?").run(at, id))
}

/** Notes how a VM is asked for from now on, JSON of the layer that knows its shape; that outlives a loss of power. */
export function noteRequest(db: Database, id: string, request: string): void {
  const update = db.query("update vms set request = ? where id = ?")
  durably(db, () => write(db, () => update.run(request, id)))
}

/** What its user last wanted of the VM of a name, where that was not that it runs. */
export type Stop = "stopped" | "removed"

/**
 * Notes that a user wants no VM of this name to run, until the next one runs: before it is stopped, and so that it outlives a loss
 * of power. Nothing is written where that stands there, or where nothing would start one by itself.
 */
export function noteStop(db: Database, name: string, stop: Stop): void {
  const removed = stop === "removed" ? 1 : 0
  const noted = db.query<{ removed: number }, [string]>("select removed from stops where name = ?").get(name)
  if (noted !== null && noted.removed >= removed) return
  const mayStart = `select 1 from vms where name = ? and (spec like '%"always"%' or spec like '%"unless-stopped"%')`
  if (db.query(mayStart).get(name) === null) return
  const insert = db.query("insert into stops values (?, ?) on conflict (name) do update set removed = excluded.removed")
  durably(db, () => write(db, () => insert.run(name, removed)))
}

/** What is noted so, by the VMs' names. */
export function listStops(db: Database): ReadonlyMap<string, Stop> {
  const rows = db.query<{ name: string; removed: number }, []>("select name, removed from stops").all()
  return new Map(rows.map(({ name, removed }) => [name, removed === 1 ? "removed" : "stopped"]))
}
