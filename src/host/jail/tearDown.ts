import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { inodeOf, isType, openBeneath, renameNoReplace, statAt, withDescriptor } from "../../base/linux/files.ts"
import { nextEntries } from "../../base/linux/listing.ts"
import { Failure } from "../../base/terms/failure.ts"
import { removeTree } from "../../store/files/removeTree.ts"
import { ensureDirectory, findBase, GRAVE, type JailSite, stageName } from "./base.ts"
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
    const grave = ensureDirectory(base, GRAVE, 0o700)
    return withDescriptor(grave, () => {
      const warnings = bury(base, base, stageName(site.id), { site, inode, grave, busy })
      const vmm = open(base, site.vmm)
      if (vmm !== undefined)
        warnings.push(...withDescriptor(vmm, () => buryPlaced(base, vmm, { site, inode, grave, busy })))
      emptyGrave(grave, site.id)
      requireGone(base, grave, site)
      return warnings
    })
  })
}

// --- internal ---

/** So often the grave is looked through for what another process that removes the same jail has put there. */
const ROUNDS = 64

interface Burial {
  readonly site: JailSite
  readonly inode: string | null
  readonly grave: number
  readonly busy: Busy
}

function buryPlaced(base: number, vmm: number, burial: Burial): readonly string[] {
  const { site, inode } = burial
  if (inode === null) {
    // A jail is given its place only after its root is written down.
    if (isThere(vmm, site.id)) throw new Failure(`${site.base}/${site.vmm}/${site.id} is none of this VM's making`)
    return []
  }
  return bury(base, vmm, site.id, burial)
}

/** Moves one of a jail's places to the grave, with nothing mounted in it. Gone already is fine. */
function bury(base: number, parent: number, name: string, { site, inode, grave, busy }: Burial): string[] {
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
  const buried = moveToGrave(parent, name, grave, site.id)
  // A directory that only contains a mount can be moved: what was mounted meanwhile went along.
  if (buried !== undefined) requireNoMounts(`${site.base}/${GRAVE}/${buried}`)
  return warnings
}

function open(parent: number, name: string): number | undefined {
  try {
    return openBeneath(parent, name, O.PATH | O_DIRECTORY | O_NOFOLLOW)
  } catch (error) {
    const code = errorCode(error)
    if (code === "ENOENT") return undefined
    if (code === "ELOOP" || code === "ENOTDIR")
      throw new Failure(`${name} is not the directory of a jail`, { cause: error })
    if (code === "EXDEV") throw new Failure(`something is mounted on ${name}`, { hint: "unmount it", cause: error })
    throw error
  }
}

function requireRoot(dir: number, inode: string, path: string): void {
  try {
    const stat = statAt(dir, "root")
    if (!isType(stat, S.IFDIR)) throw new Failure(`${path}/root is not a directory`)
    if (inodeOf(stat) !== inode) {
      throw new Failure(`${path}/root is another directory (${inodeOf(stat)}) than the jail's (${inode}): left alone`)
    }
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error
  }
}

/** The name it got there, or undefined when another process was first. */
function moveToGrave(parent: number, name: string, grave: number, id: string): string | undefined {
  for (let number = 0; ; number++) {
    const buried = `${id}.${process.pid}.${number}`
    try {
      renameNoReplace(parent, name, grave, buried)
      return buried
    } catch (error) {
      const code = errorCode(error)
      if (code === "ENOENT") return undefined
      if (code === "EBUSY") throw new Failure(`something is mounted on ${name}`, { hint: "unmount it", cause: error })
      if (code !== "EEXIST") throw error
    }
  }
}

/** Also what another process, or an earlier one, has moved there: whoever is last must find nothing. */
function emptyGrave(grave: number, id: string): void {
  for (let round = 0; round < ROUNDS; round++) {
    const names = gravesOf(grave, id)
    if (names.length === 0) return
    for (const name of names) removeTree(grave, name, { dir: grave, prefix: `${id}.` })
  }
}

/** Ids have no dot, so the names in the grave tell whose they are. */
function gravesOf(grave: number, id: string): readonly string[] {
  return withDescriptor(openBeneath(grave, ".", O.RDONLY | O_DIRECTORY), (fd) => {
    const names: string[] = []
    for (let entries = nextEntries(fd); entries !== undefined; entries = nextEntries(fd)) {
      names.push(...entries.map(({ name }) => new TextDecoder().decode(name)))
    }
    return names.filter((name) => name.startsWith(`${id}.`))
  })
}

function requireGone(base: number, grave: number, site: JailSite): void {
  const left = [stageName(site.id)].filter((name) => isThere(base, name))
  left.push(...gravesOf(grave, site.id).map((name) => `${GRAVE}/${name}`))
  const vmm = open(base, site.vmm)
  if (vmm !== undefined && withDescriptor(vmm, () => isThere(vmm, site.id))) left.push(`${site.vmm}/${site.id}`)
  if (left.length > 0) throw new Failure(`${left.map((name) => `${site.base}/${name}`).join(", ")} is still there`)
}

function isThere(dir: number, name: string): boolean {
  try {
    statAt(dir, name)
    return true
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false
    throw error
  }
}
