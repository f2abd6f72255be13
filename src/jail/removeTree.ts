import { readdirSync } from "node:fs"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../linux/constants.ts"
import { errorCode } from "../linux/errors.ts"
import { close, openBeneath, renameNoReplace, rmdirAt, unlinkAt } from "../linux/files.ts"
import { shown } from "../linux/guards.ts"
import { Failure, reason } from "../terms/failure.ts"

/**
 * Removes the directory `name` of `parent` with all that is in it: never follows a symlink, never enters another
 * mount, and holds three descriptors at any depth (a directory inside is moved up before it is emptied). "Already
 * gone" is success. Throws, leaving the rest, when a mount is in the way.
 */
export function removeTree(parent: number, name: string): void {
  const top = enter(parent, name)
  if (top === undefined) return
  try {
    const waiting: string[] = []
    let moved = 0
    const keep = (dir: number, entry: Uint8Array) => {
      const flat = `.removing-${process.pid}-${moved++}`
      moveUp(dir, entry, top, flat)
      waiting.push(flat)
    }
    empty(top, (entry) => keep(top, entry))
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const dir = enter(top, next)
      if (dir === undefined) continue
      try {
        empty(dir, (entry) => keep(dir, entry))
      } finally {
        close(dir)
      }
      ignoringGone(() => rmdirAt(top, next))
    }
  } finally {
    close(top)
  }
  ignoringGone(() => rmdirAt(parent, name))
}

// --- internal ---

function enter(parent: number, name: string): number | undefined {
  try {
    return openBeneath(parent, name, O.RDONLY | O_DIRECTORY | O_NOFOLLOW)
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined
    throw new Failure(`${name} cannot be removed: ${reason(error)}`, {
      hint: "unmount what is mounted in it",
      cause: error,
    })
  }
}

/** Unlinks every file of a directory and hands over every directory. Names are bytes: they need not be UTF-8. */
function empty(dir: number, onDirectory: (entry: Uint8Array) => void): void {
  for (const entry of readdirSync(`/proc/self/fd/${dir}`, { encoding: "buffer" })) {
    try {
      unlinkAt(dir, entry)
    } catch (error) {
      const code = errorCode(error)
      if (code === "EISDIR" || code === "EPERM") onDirectory(entry)
      else if (code !== "ENOENT") throw error
    }
  }
}

function moveUp(dir: number, entry: Uint8Array, top: number, flat: string): void {
  try {
    renameNoReplace(dir, entry, top, flat)
  } catch (error) {
    if (errorCode(error) === "ENOENT") return
    throw new Failure(`${shown(entry)} cannot be removed: ${reason(error)}`, { cause: error })
  }
}

function ignoringGone(remove: () => void): void {
  try {
    remove()
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error
  }
}
