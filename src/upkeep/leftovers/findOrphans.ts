import type { Database } from "bun:sqlite"
import { type Dirent, readdirSync } from "node:fs"
import { join } from "node:path"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { type HostPath, hostPath } from "../../base/terms/path.ts"
import { cgroupMount, listCgroups } from "../../host/cgroup/cgroup.ts"
import { type JailSite, stageName, TRASH } from "../../host/jail/base.ts"
import type { State } from "../../store/state/open.ts"
import { vmLayout } from "../../store/state/places.ts"
import { listRecordIds } from "../../store/state/records.ts"
import { unrecordedUids } from "../../store/state/uids.ts"

/** What is left of a VM that has no record. Each path is of a directory that exists. */
export interface Orphan {
  readonly id: string
  readonly vm: string | undefined
  readonly runtime: string | undefined
  readonly jails: readonly OrphanJail[]
  /** The mount of the hierarchy that has a cgroup of the VM's name. */
  readonly cgroup: string | undefined
  readonly uid: number | undefined
}

/** A jail that is being made, is made, or is being removed. */
export interface OrphanJail {
  readonly path: string
  readonly site: JailSite
  readonly place: "stage" | "placed" | "trash"
}

/**
 * Finds what no record names in all places where VMs leave something. A VM has its record before it has anything else, and
 * no other VM ever has its id. So the places are read first and the records after them: what is found then has no record
 * any more, and never will.
 */
export function findOrphans({ db, where }: State): readonly Orphan[] {
  const found = new Map<string, Orphan>()
  const add = (id: string | undefined, make: (known: Orphan) => Partial<Orphan>) => {
    if (id === undefined || !isId(id)) return
    const known = found.get(id) ?? { id, ...NOTHING }
    found.set(id, { ...known, ...make(known) })
  }
  for (const name of directoriesIn(join(where.state, "vms"))) add(name, () => ({ vm: vmLayout(where, name).dir }))
  for (const name of directoriesIn(where.runtime)) add(name, () => ({ runtime: join(where.runtime, name) }))
  for (const jail of jailsIn(hostPath(join(where.state, "jail"))))
    add(jail.site.id, ({ jails }) => ({ jails: [...jails, jail] }))
  const mount = process.geteuid?.() === 0 ? cgroupMount() : undefined
  for (const name of mount === undefined ? [] : listCgroups(mount)) add(name, () => ({ cgroup: mount }))
  for (const { vm, uid } of unrecordedUids(db)) add(vm, () => ({ uid }))
  return withoutRecord(db, [...found.values()])
}

/** Whether `newVmId` could have given this name. Pure. */
export function isId(name: string): boolean {
  return ID.test(name)
}

// --- internal ---

const ID = /^[a-z0-9](?:[a-z0-9-]{0,17}[a-z0-9])?-[a-z0-9]{8}$/

const NOTHING = { vm: undefined, runtime: undefined, jails: [], cgroup: undefined, uid: undefined } as const

function withoutRecord(db: Database, orphans: readonly Orphan[]): readonly Orphan[] {
  const recorded = listRecordIds(db)
  return orphans.filter(({ id }) => !recorded.has(id))
}

function jailsIn(base: HostPath): readonly OrphanJail[] {
  const names = directoriesIn(base)
  const jail = (place: OrphanJail["place"], vmm: string, id: string, path: string) => ({
    ...{ place, path },
    site: { base, vmm, id },
  })
  const stages = names.flatMap((name) => {
    const id = name.slice(stageName("").length)
    return name === stageName(id) ? [jail("stage", ANY, id, join(base, name))] : []
  })
  // An id has no dot, so what stands before the first dot of a name in the trash is an id.
  const trash = entriesIn(join(base, TRASH)).map(({ name }) =>
    jail("trash", ANY, name.split(".")[0] ?? "", join(base, TRASH, name)),
  )
  const placed = names
    .filter((vmm) => !vmm.startsWith("."))
    .flatMap((vmm) => directoriesIn(join(base, vmm)).map((id) => jail("placed", vmm, id, join(base, vmm, id))))
  return [...stages, ...placed, ...trash]
}

/** Stands for the VMM of a jail outside the directory of a VMM, where the name does not matter. */
const ANY = "firecracker"

function directoriesIn(dir: string): readonly string[] {
  return entriesIn(dir)
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
}

function entriesIn(dir: string): readonly Dirent[] {
  return unlessAbsent(() => readdirSync(dir, { withFileTypes: true })) ?? []
}
