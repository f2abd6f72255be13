import { readFileSync } from "node:fs"
import { basename } from "node:path"
import { errorCode } from "../../base/linux/errors.ts"
import { statAt, statDescriptor } from "../../base/linux/files.ts"
import { escapeMountPath, UMOUNT, unmountAt } from "../../base/linux/mounts.ts"
import { Failure } from "../../base/terms/failure.ts"

/** A mount, and where it is. */
export interface Mounted {
  /** Its number in /proc/self/mountinfo, and that of its file system's device. */
  readonly id: string
  readonly fileSystem: string
  /** The path that it is on. */
  readonly point: string
}

/** Each look of somebody else's at the mount costs one try. */
const TRIES_MAX_COUNT = 64

/**
 * Takes off this very mount, whatever else is mounted on the same place meanwhile; `parent` is a descriptor of the directory that the
 * place is in. Linux unmounts by a path, and thus whatever is on top by then. But what MNT_EXPIRE (umount2(2)) takes off, it has marked
 * at a call before, and any use takes the mark away. So: mark what is on top, see in the table, which is no use of it, that it is this
 * mount, and have what is marked taken off. One that came between has no mark, and only gets one. EBUSY while it is in use. Throws
 * NOT_RELEASED where something else is on top of it.
 */
export function unmountOnly(parent: number, mounted: Mounted): void {
  const name = basename(mounted.point)
  const parentId = String(statDescriptor(parent).mountId)
  const refused = (why: string) => new Failure("NOT_RELEASED", why, { subject: mounted.point })
  for (let tries = 0; tries < TRIES_MAX_COUNT; tries++) {
    const other = `something else is mounted on ${mounted.point}`
    // This look takes its mark away: whoever has marked it, nothing goes by that.
    if (String(statAt(parent, name).mountId) !== mounted.id) throw refused(other)
    if (unmountMarked(parent, name)) return
    if (!isOnTop(readFileSync("/proc/self/mountinfo", "latin1"), mounted, parentId)) throw refused(other)
    if (unmountMarked(parent, name)) return
  }
  throw refused(`others look at what is mounted on ${mounted.point} all the time`)
}

/**
 * Whether a mount is on top of all that is mounted on its place in the mount that is numbered `within`. `table`: the bytes of
 * /proc/self/mountinfo, as latin1 (proc(5)). Pure.
 */
export function isOnTop(table: string, { id, fileSystem, point }: Mounted, within: string): boolean {
  const at = escapeMountPath(Buffer.from(point).toString("latin1"))
  const stack = table
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, , , , on]) => on === at)
  const own = stack.find(([one, , dev]) => one === id && dev === fileSystem)
  if (own === undefined || stack.some(([, parent]) => parent === id)) return false
  let lowest = own
  for (let below: typeof own | undefined = own, left = stack.length; below !== undefined && left > 0; left--) {
    lowest = below
    const parent: string | undefined = below[1]
    below = stack.find(([one]) => one === parent)
  }
  return lowest[1] === within
}

// --- internal ---

/** False where what is on top had no mark: now it has one. */
function unmountMarked(parent: number, name: string): boolean {
  try {
    unmountAt(parent, name, UMOUNT.EXPIRE)
    return true
  } catch (error) {
    if (errorCode(error) !== "EAGAIN") throw error
    return false
  }
}
