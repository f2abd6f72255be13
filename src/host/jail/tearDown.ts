import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, isType, openBeneath, renameNoReplace, statAt, withDescriptor } from "../../base/linux/files.ts"
import { nextEntries } from "../../base/linux/listing.ts"
import { Failure } from "../../base/terms/failure.ts"
import { removeTree } from "../../store/files/removeTree.ts"
import { ensureDirectory, findBase, type JailSite, stageName, TRASH } from "./base.ts"
import { type Busy, detachBelow, requireNoMounts } from "./detach.ts"

/**
 * Takes a jail away, wherever its making or an earlier removal was cut short: detaches what is mounted in it, moves it
 * to a directory that is root's alone, deletes it there without leaving the file system it is on, and proves that it is
 * gone. `inode` is its root's as `makeJail` told it, or null when it never did. The jail's processes must be gone. Safe
 * to repeat, and to run by several processes at once. Returns warnings. Throws a failure, with nothing deleted, when
 * what has the jail's place is not the jail, or a mount cannot be detached; `busy` says what becomes of one in use.
 */
export function tearDown(site: JailSite, inode: string | null, busy: Busy = "detach"): readonly string[] {
  const base = findBase(site.base)
  if (base === undefined) return []
  return withDescriptor(base, () => {
    const trash = ensureDirectory(base, TRASH, 0o700)
    return withDescriptor(trash, () => {
      const warnings = moveToTrash(base, base, stageName(site.id), { site, inode, trash, busy })
      const vmm = open(base, site.vmm)
      if (vmm !== undefined)
        warnings.push(...withDescriptor(vmm, () => movePlacedToTrash(base, vmm, { site, inode, trash, busy })))
      emptyTrash(trash, site.id)
      requireGone(base, trash, site)
      return warnings
    })
  })
}

// --- internal ---

/** So often the trash is looked through for what another process that removes the same jail has put there. */
const ROUNDS_MAX_COUNT = 64

interface JailPlace {
  readonly site: JailSite
  readonly inode: string | null
  readonly trash: number
  readonly busy: Busy
}

function movePlacedToTrash(base: number, vmm: number, place: JailPlace): readonly string[] {
  const { site, inode } = place
  if (inode === null) {
    // A jail is given its place only after its root is written down.
    if (isThere(vmm, site.id))
      throw new Failure("FAILED", `${site.base}/${site.vmm}/${site.id} is none of this VM's making`)
    return []
  }
  return moveToTrash(base, vmm, site.id, place)
}

/** Moves one of a jail's places to the trash, with nothing mounted in it. Gone already is fine. */
function moveToTrash(base: number, parent: number, name: string, { site, inode, trash, busy }: JailPlace): string[] {
  const path = parent === base ? `${site.base}/${name}` : `${site.base}/${site.vmm}/${name}`
  const dir = open(parent, name)
  if (dir === undefined) return []
  const warnings = withDescriptor(dir, () => {
    if (inode !== null) requireRoot(dir, inode, path)
    const found = detachBelow(base, site.base, path, busy)
    if (inode !== null) requireRoot(dir, inode, path)
    return [...found]
  })
  requireNoMounts(path)
  const trashed = renameIntoTrash(parent, name, trash, site.id)
  // A directory that only contains a mount can be moved: what was mounted meanwhile went along.
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
      throw new Failure("FAILED", `${name} is not the directory of a jail`, { cause: error })
    if (code === "EXDEV")
      throw new Failure("FAILED", `something is mounted on ${name}`, { hint: "unmount it", cause: error })
    throw error
  }
}

function requireRoot(dir: number, inode: string, path: string): void {
  const stat = unlessAbsent(() => statAt(dir, "root"))
  if (stat === undefined) return
  if (!isType(stat, S.IFDIR)) throw new Failure("FAILED", `${path}/root is not a directory`)
  if (inodeOf(stat) !== inode) {
    throw new Failure(
      "FAILED",
      `${path}/root is another directory (${inodeOf(stat)}) than the jail's (${inode}): left alone`,
    )
  }
}

/** The name it got there, or undefined when another process was first. */
function renameIntoTrash(parent: number, name: string, trash: number, id: string): string | undefined {
  for (let number = 0; ; number++) {
    const trashed = `${id}.${process.pid}.${number}`
    try {
      renameNoReplace(parent, name, trash, trashed)
      return trashed
    } catch (error) {
      const code = errorCode(error)
      if (code === "ENOENT") return undefined
      if (code === "EBUSY")
        throw new Failure("FAILED", `something is mounted on ${name}`, { hint: "unmount it", cause: error })
      if (code !== "EEXIST") throw error
    }
  }
}

/** Also what another process, or an earlier one, has moved there: whoever is last must find nothing. */
function emptyTrash(trash: number, id: string): void {
  for (let round = 0; round < ROUNDS_MAX_COUNT; round++) {
    const names = trashOf(trash, id)
    if (names.length === 0) return
    for (const name of names) removeTree(trash, name, { dir: trash, prefix: `${id}.` })
  }
}

/** Ids have no dot, so the names in the trash tell whose they are. */
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
    throw new Failure("FAILED", `${left.map((name) => `${site.base}/${name}`).join(", ")} is still there`)
}

function isThere(dir: number, name: string): boolean {
  return unlessAbsent(() => statAt(dir, name)) !== undefined
}
