import { readFileSync } from "node:fs"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { statPath } from "../../base/linux/files.ts"
import { Failure } from "../../base/terms/failure.ts"
import { once } from "../../base/terms/once.ts"

/** Some uids in a row. */
export interface UidRange {
  readonly first: number
  readonly count: number
}

/** Ids that a user namespace maps (user_namespaces(7)): of users and of groups. */
export interface IdMaps {
  readonly uids: readonly UidRange[]
  readonly gids: readonly UidRange[]
}

/** The ids that this process's user namespace maps. */
export const ownIdMaps: () => IdMaps = once(() => ({
  uids: parseIdMap(read("/proc/self/uid_map")),
  gids: parseIdMap(read("/proc/self/gid_map")),
}))

/** Whether this is the first user namespace, whose root may make device nodes: another one may map all ids too. */
export const inFirstUserNamespace: () => boolean = once(() => {
  return isFirst(unlessAbsent(() => statPath(OWN_USER_NAMESPACE)))
})

/** Where a process finds its user namespace. */
export const OWN_USER_NAMESPACE = "/proc/self/ns/user"

/** Whether a user namespace is the first one, by its file; a kernel without any has the first one only. Pure. */
export function isFirst(namespace: { readonly ino: bigint } | undefined): boolean {
  return namespace === undefined || namespace.ino === FIRST.user
}

/** The ids inside of a namespace, by the text of a uid_map or gid_map. Pure. */
export function parseIdMap(text: string): readonly UidRange[] {
  return text.split("\n").flatMap((line) => {
    const [first, , count] = line.trim().split(/\s+/).map(Number)
    return first !== undefined && count !== undefined && count > 0 ? [{ first, count }] : []
  })
}

/** Whether an id is one of a namespace's. Pure. */
export function isMapped(id: number, map: readonly UidRange[]): boolean {
  return map.some(({ first, count }) => id >= first && id < first + count)
}

/**
 * The uids, which are gids too, for VMs of their own: those that are wanted where they are mapped, else a part of what is mapped for users
 * and groups alike, in a container where distributions and tools hand out none. Throws HOST_LACKS where too few are. Pure.
 */
export function uidRangeOf({ uids, gids }: IdMaps, wanted: UidRange): UidRange {
  const both = uids.flatMap((uid) => gids.flatMap((gid) => overlap(uid, gid)))
  const ours = [wanted, ...SPARE].flatMap((range) => both.flatMap((one) => overlap(range, one)))
  const found = ours.find(({ count }) => count >= LEAST_COUNT)
  if (found !== undefined) return { ...found, count: Math.min(found.count, wanted.count) }
  const detail = {
    hint: "map more uids and gids (newuidmap(1), /etc/subuid; LXD: security.idmap.size), name one that is mapped: jail: { uid: 2000, gid: 2000 }, or run without a jail: jail: false",
    subject: "jail",
  }
  throw new Failure(
    "HOST_LACKS",
    `this user namespace maps no ${LEAST_COUNT} uids and gids that VMs could have`,
    detail,
  )
}

/** Throws HOST_LACKS where a plugin's uid or gid is none of this user namespace's. Pure. */
export function requireMapped(
  { uid, gid }: { readonly uid: number; readonly gid: number },
  { uids, gids }: IdMaps,
): void {
  const fault = !isMapped(uid, uids) ? `jail.uid: ${uid}` : !isMapped(gid, gids) ? `jail.gid: ${gid}` : undefined
  if (fault === undefined) return
  const hint = "name one that is: cat /proc/self/uid_map /proc/self/gid_map; or leave jail out"
  throw new Failure("HOST_LACKS", `${fault} is not mapped in this user namespace`, { hint, subject: "jail" })
}

// --- internal ---

/** The inode of the first user namespace of every kernel (include/linux/proc_ns.h: PROC_USER_INIT_INO). */
const FIRST = { user: 0xefff_fffdn } as const

/** With fewer, VMs would soon share one. */
const LEAST_COUNT = 16

/** Where in a container's 65536 ids neither people, services nor systemd's dynamic users are; then all below nobody. */
const SPARE: readonly UidRange[] = [
  { first: 30_000, count: 30_000 },
  { first: 2000, count: 63_000 },
  { first: 100_000, count: 2 ** 31 - 100_000 },
]

function overlap(a: UidRange, b: UidRange): readonly UidRange[] {
  const first = Math.max(a.first, b.first)
  const count = Math.min(a.first + a.count, b.first + b.count) - first
  return count > 0 ? [{ first, count }] : []
}

/** A kernel without user namespaces maps all. */
function read(path: string): string {
  return unlessAbsent(() => readFileSync(path, "latin1")) ?? "0 0 4294967295"
}
