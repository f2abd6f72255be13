import { Database, SQLiteError } from "bun:sqlite"
import { copyFileSync, existsSync, mkdirSync, readdirSync, readlinkSync } from "node:fs"
import { basename, join } from "node:path"
import { chmodDescriptor } from "../../base/linux/access.ts"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { openAt, openBeneath, rmdirAt, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { Failure } from "../../base/terms/failure.ts"
import { databaseTrouble } from "../files/databaseTrouble.ts"
import { withLock } from "../files/lock.ts"

/**
 * Each entry takes the schema one version on; entries are only ever added. The version is SQLite's user_version. An entry leaves
 * what older bangers read and write: their supervisors go on until their VMs end, and boot them again.
 */
const MIGRATIONS = [
  `create table vms (
     id text primary key,
     name text not null,
     state text not null,
     vmm text not null,
     boot_id text not null,
     plugin_path text not null,
     plugin_sha256 text not null,
     spec text not null,
     handles text not null,
     exit text,
     created_at integer not null,
     updated_at integer not null
   ) strict;
   create unique index vms_live_name on vms (name) where state not in ('stopped', 'failed');`,
  "create table uids (uid integer primary key, vm text not null unique) strict;",
  // The journal's generation; how the VM was asked for; how many postStop hooks were begun and done; when it ran, when
  // it ended, when its supervisor means to boot it again, and whether a failed start is kept for inspection.
  `alter table vms add column generation integer not null default 0;
   alter table vms add column request text not null default '{}';
   alter table vms add column post_stop_begun integer not null default 0;
   alter table vms add column post_stop_done integer not null default 0;
   alter table vms add column running_at integer;
   alter table vms add column ended_at integer;
   alter table vms add column restart_at integer;
   alter table vms add column kept integer not null default 0;
   create index vms_by_state on vms (state);`,
  `create table leases (
     vm text primary key,
     bridge text not null,
     subnet text not null,
     number integer not null,
     mac text not null unique,
     link text not null unique,
     detail text not null,
     unique (bridge, number)
   ) strict;`,
  // Which VMs were made from which snapshot. A row outlives its VM's record.
  `create table restores (
     snapshot text not null,
     vm text primary key,
     name text not null,
     claimed_at integer not null,
     ran_at integer
   ) strict;
   create index restores_by_snapshot on restores (snapshot);`,
  // The snapshot that a running VM's next one may be written on: its last, or the one that it was restored from.
  "alter table vms add column baseline text;",
  // A VM has a lease for each of its network cards. A supervisor that an older banger left still writes leases without a card.
  `create table card_leases (
     vm text not null,
     bridge text not null,
     subnet text not null,
     number integer not null,
     mac text not null unique,
     link text not null unique,
     detail text not null,
     card text not null default 'eth0',
     primary key (vm, card),
     unique (bridge, number)
   ) strict;
   insert into card_leases select vm, bridge, subnet, number, mac, link, detail, 'eth0' from leases;
   drop table leases;
   alter table card_leases rename to leases;`,
  // Places of network cards on bridges of the user's, whose addresses are not banger's to give.
  `create table bridge_leases (
     vm text not null,
     card text not null,
     bridge text not null,
     address text,
     mac text not null unique,
     link text not null unique,
     detail text not null,
     primary key (vm, card),
     unique (bridge, address)
   ) strict;`,
  // Which VM has which persistent disk. Older bangers do not begin anything with this schema, nor read a journal that has one.
  `create table disk_claims (
     disk text primary key,
     vm text not null,
     claimed_at integer not null
   ) strict;
   create index disk_claims_by_vm on disk_claims (vm);`,
  // The names of VMs that their users have stopped, or removed, and not started since.
  "create table stops (name text primary key, removed integer not null) strict;",
  // No table: a journal may name what a plugin keeps, and older bangers do not read such a journal.
  "select 1;",
  // The addresses that were given back last, in this order. Those that an older banger gives back are not among them.
  "create table freed_addresses (at integer primary key autoincrement, address integer not null unique) strict;",
]

/** SQLite's log is written back at this size: whoever opens the file first reads the log, which takes half a millisecond then. */
const LOG_MAX_PAGES_COUNT = 250

/** How long a write waits for another banger's write, in milliseconds. */
const BUSY_WAIT_MS = 10_000

/** How a database is opened. */
export interface OpenOptions {
  /** "used": by a supervisor, whose VM outlives an update of banger. Who begins something anew refuses what he may not know. */
  readonly newer?: "refused" | "used" | undefined
}

/**
 * Opens (and on first use makes) `state.db` in the state directory: WAL, 0600, migrated to this version's schema.
 * Throws a failure when a newer banger wrote the file (`newer`), or it is not a database. It is never deleted or remade.
 */
export function openDatabase(stateDirectory: string, options: OpenOptions = {}): Database {
  const path = join(stateDirectory, "state.db")
  try {
    // One process at a time: SQLite does not let some of those who make a database together wait.
    return exclusively(stateDirectory, () => open(path, options))
  } catch (error) {
    if (error instanceof Failure) throw error
    throw databaseTrouble(path, "cannot be used", error)
  }
}

/**
 * The descriptors by which this process has a database open. As long as they are, also in a program that takes this one's
 * place, its locks hold (fcntl(2)): whoever closes the database does not take itself for the last one, and leaves its log,
 * which could not be made anew on a full disk.
 */
export function databaseDescriptors({ filename }: Pick<Database, "filename">): readonly number[] {
  const files = [filename, `${filename}-wal`, `${filename}-shm`]
  return readdirSync("/proc/self/fd")
    .filter((fd) => files.includes(unlessAbsent(() => readlinkSync(`/proc/self/fd/${fd}`)) ?? ""))
    .map(Number)
}

/**
 * Opens a copy of `state.db` that vanishes when it is closed: for reading where the directory cannot be written.
 * The copy is made in `spare`, a private directory elsewhere. Throws as `openDatabase` does.
 */
export function openCopy(stateDirectory: string, spare: string): Database {
  const dir = join(spare, `.look-${crypto.randomUUID()}`)
  mkdirSync(dir, { mode: 0o700 })
  try {
    for (const name of ["state.db", "state.db-wal"])
      if (existsSync(join(stateDirectory, name))) copyFileSync(join(stateDirectory, name), join(dir, name))
    const db = open(join(dir, "state.db"))
    // The first query opens all of its files; after that their names can go.
    db.query("select count(*) from vms").get()
    return db
  } finally {
    removeCopy(spare, basename(dir))
  }
}

/** An empty database in memory alone, for a look where there never was one and none can be made. */
export function openNothing(): Database {
  const db = new Database(":memory:", { strict: true })
  migrate(db, ":memory:", "refused")
  return db
}

/** Makes a write that outlives a loss of power when this returns, with all that was written before (fdatasync(2) of SQLite's log). */
export function durably<T>(db: Database, write: () => T): T {
  db.run("pragma synchronous = full")
  try {
    return write()
  } finally {
    db.run("pragma synchronous = normal")
  }
}

/** Runs a write. Throws a failure that names the file: SQLite does not. */
export function write(db: Database, work: () => unknown): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof SQLiteError)) throw error
    throw databaseTrouble(db.filename, "cannot be written", error)
  }
}

/** Runs `work` while no other banger does so with the same state directory. */
export function exclusively<T>(stateDirectory: string, work: () => T): T {
  return withLock(join(stateDirectory, "state.lock"), work)
}

// --- internal ---

function removeCopy(spare: string, name: string): void {
  withDescriptor(openAt(AT_FDCWD, spare, O.PATH | O_DIRECTORY), (parent) => {
    withDescriptor(openBeneath(parent, name, O.PATH | O_DIRECTORY | O_NOFOLLOW), (dir) => {
      for (const file of ["state.db", "state.db-wal", "state.db-shm"].filter((one) =>
        existsSync(join(spare, name, one)),
      ))
        unlinkAt(dir, file)
    })
    rmdirAt(parent, name)
  })
}

function open(path: string, { newer = "refused" }: OpenOptions = {}): Database {
  const db = new Database(path, { create: true, strict: true })
  withDescriptor(openAt(AT_FDCWD, path, O.PATH | O_NOFOLLOW), (fd) => chmodDescriptor(fd, 0o600))
  db.exec(`pragma busy_timeout = ${BUSY_WAIT_MS}`)
  db.exec("pragma journal_mode = wal")
  db.exec("pragma synchronous = normal")
  db.exec(`pragma wal_autocheckpoint = ${LOG_MAX_PAGES_COUNT}`)
  migrate(db, path, newer)
  return db
}

function migrate(db: Database, path: string, newer: OpenOptions["newer"]): void {
  const version = () => db.query<{ user_version: number }, []>("pragma user_version").get()?.user_version ?? 0
  if (version() === MIGRATIONS.length) return
  const run = db.transaction(() => {
    const from = version()
    if (from > MIGRATIONS.length) {
      if (newer === "used") return
      const message = `${path} was written by a newer banger (schema ${from}, this one knows ${MIGRATIONS.length})`
      throw new Failure("BAD_STATE", message, { hint: "install the newer version again", subject: path })
    }
    for (const step of MIGRATIONS.slice(from)) db.exec(step)
    db.exec(`pragma user_version = ${MIGRATIONS.length}`)
  })
  run.immediate()
}
