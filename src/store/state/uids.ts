import type { Database } from "bun:sqlite"
import { Failure } from "../../base/terms/failure.ts"
import { ownIdMaps, type UidRange, uidRangeOf } from "../files/idMap.ts"

/** Uids that no distribution, container tool or directory service hands out (systemd's UIDS-GIDS.md: "unused"). */
export const UID_RANGE = { first: 1_900_000_000, count: 65_536 }

/**
 * Owns nothing but, for microseconds, a dead socket that a sweep removes (docs/sweep.md). It is outside of the range above,
 * and as unused.
 */
export const SWEEP_UID = 1_899_999_999

/** The uids that VMs can have in this user namespace. Throws as `uidRangeOf` does. */
export function ownUidRange(): UidRange {
  return uidRangeOf(ownIdMaps(), UID_RANGE)
}

/**
 * Gives a VM a uid of its own until `freeUid`: the one asked for, or a random one of the range. Throws a failure when
 * another VM has the one asked for, or the range is used up.
 */
export function takeUid(
  db: Database,
  vm: string,
  {
    wanted,
    range = UID_RANGE,
  }: { readonly wanted?: number | undefined; readonly range?: typeof UID_RANGE | undefined } = {},
): number {
  const take = db.transaction(() => {
    const uid = wanted ?? freeUidOf(db, range)
    const taken = db.query<{ vm: string }, [number]>("select vm from uids where uid = ?").get(uid)
    if (taken && taken.vm !== vm) {
      const hint = "two VMs of one uid could reach into each other's jails: choose another uid"
      throw new Failure("IN_USE", `uid ${uid} is in use by the VM ${taken.vm}`, { hint, subject: String(uid) })
    }
    db.query("insert or replace into uids (uid, vm) values (?, ?)").run(uid, vm)
    return uid
  })
  return take.immediate()
}

/** Gives back a VM's uid. A VM without a uid is fine. */
export function freeUid(db: Database, vm: string): void {
  db.query("delete from uids where vm = ?").run(vm)
}

/** The uids whose VM has no record any more: leftovers of a removal that was cut short. */
export function unrecordedUids(db: Database): readonly { uid: number; vm: string }[] {
  return db
    .query<{ uid: number; vm: string }, []>("select uid, vm from uids where vm not in (select id from vms)")
    .all()
}

// --- internal ---

/** Starts at a random place, so that bangers with other databases seldom choose the same uid. */
function freeUidOf(db: Database, { first, count }: { first: number; count: number }): number {
  const taken = new Set(
    db
      .query<{ uid: number }, []>("select uid from uids")
      .all()
      .map(({ uid }) => uid),
  )
  const start = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0
  for (let step = 0; step < count; step++) {
    const uid = first + ((start + step) % count)
    if (!taken.has(uid)) return uid
  }
  throw new Failure("IN_USE", `all ${count} uids from ${first} on are in use by VMs`, {
    hint: "remove VMs that have ended",
  })
}
