import { O, O_DIRECTORY, O_NOFOLLOW, S } from "../../base/linux/constants.ts"
import { errorCode } from "../../base/linux/errors.ts"
import { openBeneath, renameNoReplace, rmdirAt, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { type Path, shown } from "../../base/linux/guards.ts"
import { type Entry, nextEntries } from "../../base/linux/listing.ts"
import { Failure, messageOf } from "../../base/terms/failure.ts"
import { makeMutableAt } from "./mutable.ts"

/** Where directories found inside are moved to before they are emptied, and the prefix of their names there. */
export interface Flat {
  readonly dir: number
  readonly prefix: string
}

/** How often a directory is emptied before it is given up, because another process keeps filling it. */
const PASSES_MAX_COUNT = 64

/**
 * Removes the directory `name` of `parent` with all that is in it: never follows a symlink, never enters another
 * mount, and holds few descriptors at any depth (a directory inside is moved to `flat`, by default up to the tree's
 * top, before it is emptied). "Already gone" is success, so two processes may do it together. Throws, and leaves
 * the rest, when a mount is in the way or another process keeps making files.
 */
export function removeTree(parent: number, name: Path, flat?: Flat): void {
  for (let pass = 0; pass < PASSES_MAX_COUNT; pass++) {
    const top = enter(parent, name)
    if (top === undefined) return
    withDescriptor(top, () => emptyTree(top, flat ?? { dir: top, prefix: ".removing-" }))
    if (removeEmpty(parent, name)) return
  }
  throw keepsBeingFilled(name)
}

// --- internal ---

/** Keeps this process's names apart from those of processes that were killed here before. */
const MARK = crypto.randomUUID().slice(0, 13)
let count = 0

function emptyTree(top: number, flat: Flat): void {
  const moved: Path[] = []
  const onDirectory = (dir: number, entry: Uint8Array) => {
    // Renaming in the directory that is being listed makes some kernels (6.6 to 6.10) list it without end.
    const next = dir === flat.dir ? entry.slice() : moveInto(dir, entry, flat)
    if (next !== undefined) moved.push(next)
  }
  empty(top, onDirectory)
  for (let next = moved.pop(); next !== undefined; next = moved.pop()) removeOne(flat.dir, next, onDirectory)
}

type OnDirectory = (dir: number, entry: Uint8Array) => void

function removeOne(parent: number, name: Path, onDirectory: OnDirectory): void {
  for (let pass = 0; pass < PASSES_MAX_COUNT; pass++) {
    const dir = enter(parent, name)
    if (dir === undefined) return
    withDescriptor(dir, () => empty(dir, onDirectory))
    if (removeEmpty(parent, name)) return
  }
  throw keepsBeingFilled(name)
}

function enter(parent: number, name: Path): number | undefined {
  try {
    return openBeneath(parent, name, O.RDONLY | O_DIRECTORY | O_NOFOLLOW)
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined
    throw inTheWay(name, error)
  }
}

/** Unlinks every file of a directory and hands over every directory. rmdir(2) tells if something was made meanwhile. */
function empty(dir: number, onDirectory: OnDirectory): void {
  for (let entries = nextEntries(dir); entries !== undefined; entries = nextEntries(dir)) {
    for (const entry of entries) removeEntry(dir, entry, onDirectory)
  }
}

function keepsBeingFilled(name: Path): Failure {
  return new Failure("NOT_RELEASED", `${shown(name)} keeps being filled while it is removed`, {
    hint: "end the process that does it",
    subject: shown(name),
  })
}

function removeEntry(dir: number, { name, type }: Entry, onDirectory: OnDirectory): void {
  if (type === S.IFDIR) {
    onDirectory(dir, name)
    return
  }
  try {
    unlinkAt(dir, name)
  } catch (error) {
    const code = errorCode(error)
    if (code === "ENOENT") return
    // The file system did not tell the type, or the name is a directory's by now.
    if (code === "EISDIR") onDirectory(dir, name)
    else if (code !== "EPERM" || !makeMutableAt(dir, name)) throw inTheWay(name, error)
    else unlinkAt(dir, name)
  }
}

/** The name that the directory got there, or undefined when it is gone already. */
function moveInto(dir: number, entry: Uint8Array, flat: Flat): string | undefined {
  for (;;) {
    const next = `${flat.prefix}${MARK}-${count++}`
    try {
      return moveTo(dir, entry, { to: flat.dir, name: next }) ? next : undefined
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw error
    }
  }
}

/** False when it is gone already. */
function moveTo(dir: number, entry: Uint8Array, { to, name }: { readonly to: number; readonly name: string }): boolean {
  try {
    renameNoReplace(dir, entry, to, name)
  } catch (error) {
    const code = errorCode(error)
    if (code === "ENOENT") return false
    if (code === "EEXIST") throw error
    if (code !== "EPERM" || !makeMutableAt(dir, entry)) throw inTheWay(entry, error)
    renameNoReplace(dir, entry, to, name)
  }
  return true
}

/** False when there is something in it again. */
function removeEmpty(parent: number, name: Path): boolean {
  try {
    rmdirAt(parent, name)
  } catch (error) {
    const code = errorCode(error)
    if (code === "ENOENT") return true
    if (code === "ENOTEMPTY") return false
    if (code !== "EPERM" || !makeMutableAt(parent, name)) throw inTheWay(name, error)
    rmdirAt(parent, name)
  }
  return true
}

function inTheWay(name: Path, error: unknown): Failure {
  const mounted = ["EBUSY", "EXDEV"].includes(errorCode(error) ?? "")
  const hint = mounted ? "unmount what is mounted there" : undefined
  const message = `${shown(name)} cannot be removed: ${messageOf(error)}`
  return new Failure("NOT_RELEASED", message, { hint, subject: shown(name), cause: error })
}
