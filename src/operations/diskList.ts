import * as v from "valibot"
import type { Log } from "../base/terms/log.ts"
import { listHolders } from "../store/disks/claims.ts"
import { findDisks, listDisks } from "../store/disks/disks.ts"
import type { State } from "../store/state/open.ts"
import { disksDirectory } from "../store/state/places.ts"
import { vmStateSchema } from "../store/state/vmState.ts"

/** What `banger disk ls` shows: the persistent disks of this user. */
export const diskListSchema = v.array(
  v.strictObject({
    name: v.string(),
    path: v.string(),
    /** What a guest sees. */
    sizeBytes: v.number(),
    /** What it takes of the host's file system. */
    usedBytes: v.number(),
    /** The VM that has it; null: none has. */
    vm: v.nullable(v.strictObject({ id: v.string(), name: v.string(), state: vmStateSchema })),
  }),
)
export type DiskList = v.InferOutput<typeof diskListSchema>

/** The persistent disks, by name, and which VM has each. Warns of what has a disk's place and is none. Nothing is changed. */
export function listPersistentDisks({ db, where }: State, log: Log): DiskList {
  using disks = findDisks(disksDirectory(where))
  if (disks === undefined) return []
  const holders = listHolders(db)
  const { disks: found, strange } = listDisks(disks)
  for (const { message } of strange) log.warn(message)
  return found.map((disk) => {
    const holder = holders.find((each) => each.disk === disk.name)
    const vm = holder && { id: holder.id, name: holder.name, state: v.parse(vmStateSchema, holder.state) }
    return { ...disk, vm: vm ?? null }
  })
}
