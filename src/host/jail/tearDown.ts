import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, isType, openBeneath, renameNoReplace, statAt, withDescriptor } from "../../base/linux/files.ts"
import { nextEntries } from "../../base/linux/listing.ts"
import { Failure } from "../../base/terms/failure.ts"
import { removeTree } from "../../store/files/removeTree.ts"
import { ensureDirectory, findBase, type JailSite, stageName, TRASH } from "./base.ts"
import { type Busy, detachBelow, requireNoMounts } from "./detach.ts"

/**
 * Removes a jail, wherever its making or an earlier removal was cut short: detaches the mounts in it, moves it to the
 * trash, empties it there without entering another file system, and proves that it is gone. `inode` is its root's, as
 * `makeJail` told it; null: the jail has no root yet. The jail's processes must be gone. Safe to repeat, and for several
 * processes at once. Returns warnings. Throws a failure, with nothing deleted, when something else has the jail's place, or
 * a mount cannot be detached; `busy` decides about a mount in use.
 */
export function tearDown(site: JailSite, inode: string | null, busy: Busy = "detach"): readonly string[] {
  const base = findBase(site.base)
  if (base === undefined) return []
  return withDescriptor(base, () => {
    const trash = ensureDirectory(base, TRASH, 0o700)
    return withDescriptor(trash, () => {
      const jail = { site, inode, base, trash, busy }
      const warnings = moveToTrash(base, stageName(site.id), jail)
      const vmm = open(base, site.vmm)
      if (vmm !== undefined) warnings.push(...withDescriptor(vmm, () => movePlacedToTrash(vmm, jail)))
      emptyTrash(trash, site.id)
      requireGone(base, trash, site)
      return warnings
    })
  })
}

// --- internal ---

/** The trash is emptied at most so often: another process that removes the same jail may keep adding to it. */
const ROUNDS_MAX_COUNT = 64

/** A jail that is being removed. */
interface DoomedJail {
  readonly site: JailSite
  readonly inode: string | null
  /** Descriptors of the base, and of the trash in it. */
  readonly base: number
  readonly trash: number
  readonly busy: Busy
}

function movePlacedToTrash(vmm: number, jail: DoomedJail): readonly string[] {
  const { site, inode } = jail
  if (inode === null) {
    // A jail comes to its place only after its root is written down.
    if (isThere(vmm, site.id)) {
      const subject = `${site.base}/${site.vmm}/${site.id}`
      const hint = "look at it; remove it by hand if nothing needs it"
      throw new Failure("CHANGED", `${subject} was not made by this VM: left alone`, { hint, subject })
    }
    return []
  }
  return moveToTrash(vmm, site.id, jail)
}

/** Detaches what is mounted in one of a jail's places, and moves it to the trash. One that is gone is fine. */
function moveToTrash(parent: number, name: string, { site, inode, base, trash, busy }: DoomedJail): string[] {
  const path = parent === base ? `${site.base}/${name}` : `${site.base}/${site.vmm}/${name}`
  const dir = open(parent, name)
  if (dir === undefined) return []
  const warnings = withDescriptor(dir, () => {
    if (inode !== null) requireRoot(dir, inode, path)
    const found = detachBelow({ fd: base, path: site.base }, path, busy)
    if (inode !== null) requireRoot(dir, inode, path)
    return [...found]
  })
  requireNoMounts(path)
  const trashed = renameIntoTrash(parent, name, { trash, id: site.id })
  // A directory with a mount inside can be moved: what was mounted meanwhile has moved with it.
  if (trashed !== undefined) requireNoMounts(`${site.base}/${TRASH}/${trashed}`)
  return warnings
}

function open(parent: number, name: string): number | undefined {
  try {
    return openBeneath(parent, name, O.PATH | O_DIRECTORY | O_NOFOLLOW)
  } catch (error) {
    const code = errorCode(error)
    if (code === "ENOENT") return undefined
    if (code === "ELOOP" || code === "ENOTDIR")
      throw new Failure("CHANGED", `${name} is not the directory of a jail: left alone`, {
        subject: name,
        cause: error,
      })
    if (code === "EXDEV") throw mountedOn(name, error)
    throw error
  }
}

function mountedOn(name: string, cause: unknown): Failure {
  return new Failure("NOT_RELEASED", `something is mounted on ${name}`, { hint: "unmount it", subject: name, cause })
}

function requireRoot(dir: number, inode: string, path: string): void {
  const stat = unlessAbsent(() => statAt(dir, "root"))
  if (stat === undefined) return
  const subject = `${path}/root`
  if (!isType(stat, S.IFDIR)) throw new Failure("CHANGED", `${subject} is not a directory: left alone`, { subject })
  if (inodeOf(stat) !== inode) {
    const message = `${subject} is another directory (${inodeOf(stat)}) than the jail's (${inode}): left alone`
    throw new Failure("CHANGED", message, { subject })
  }
}

/** Returns the name in the trash, or undefined when another process was first. */
function renameIntoTrash(
  parent: number,
  name: string,
  { trash, id }: { readonly trash: number; readonly id: string },
): string | undefined {
  for (let number = 0; ; number++) {
    const trashed = `${id}.${process.pid}.${number}`
    try {
      renameNoReplace(parent, name, trash, trashed)
      return trashed
    } catch (error) {
      const code = errorCode(error)
      if (code === "ENOENT") return undefined
      if (code === "EBUSY") throw mountedOn(name, error)
      if (code !== "EEXIST") throw error
    }
  }
}

/** Empties also what another process, or an earlier one, has moved there: the last one must find nothing. */
function emptyTrash(trash: number, id: string): void {
  for (let round = 0; round < ROUNDS_MAX_COUNT; round++) {
    const names = trashOf(trash, id)
    if (names.length === 0) return
    for (const name of names) removeTree(trash, name, { dir: trash, prefix: `${id}.` })
  }
}

/** The names in the trash that belong to an id: ids have no dot. */
function trashOf(trash: number, id: string): readonly string[] {
  return withDescriptor(openBeneath(trash, ".", O.RDONLY | O_DIRECTORY), (fd) => {
    const names: string[] = []
    for (let entries = nextEntries(fd); entries !== undefined; entries = nextEntries(fd)) {
      names.push(...entries.map(({ name }) => new TextDecoder().decode(name)))
    }
    return names.filter((name) => name.startsWith(`${id}.`))
  })
}

function requireGone(base: number, trash: number, site: JailSite): void {
  const left = [stageName(site.id)].filter((name) => isThere(base, name))
  left.push(...trashOf(trash, site.id).map((name) => `${TRASH}/${name}`))
  const vmm = open(base, site.vmm)
  if (vmm !== undefined && withDescriptor(vmm, () => isThere(vmm, site.id))) left.push(`${site.vmm}/${site.id}`)
  if (left.length > 0)
    throw new Failure("NOT_RELEASED", `${left.map((name) => `${site.base}/${name}`).join(", ")} is still there`, {
      hint: `to try again: banger rm ${site.id}`,
      subject: site.id,
    })
}

function isThere(dir: number, name: string): boolean {
  return unlessAbsent(() => statAt(dir, name)) !== undefined
}
