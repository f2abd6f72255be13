import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { close, openBeneathMounts, statAt, withDescriptor } from "../../base/linux/files.ts"
import { UMOUNT, unmountAt } from "../../base/linux/mounts.ts"
import { Failure } from "../../base/terms/failure.ts"
import { type Mount, mountsBelow } from "./mountTable.ts"

/** The table is read anew at most so often: whoever moves directories about meanwhile cannot keep us for ever. */
const ROUNDS_MAX_COUNT = 64

/** Waits, in milliseconds, for a mount that is in use, before it is detached lazily. */
const BUSY_WAITS_MS = [10, 20, 40, 80, 160]

/**
 * Detaches all that is mounted on the directory `path` or below it, innermost first, each through its parent's
 * descriptor reached from `base` (at `basePath`) without following a symlink. Returns a warning for each that was in
 * use and went lazily; with `busy: "keep"` that is a failure instead. Throws a failure when a mount remains.
 */
export function detachBelow(base: number, basePath: string, path: string, busy: Busy = "detach"): readonly string[] {
  const warnings: string[] = []
  for (let round = 0; round < ROUNDS_MAX_COUNT; round++) {
    const mounts = mountsBelow(path)
    if (mounts.length === 0) return warnings
    for (const mount of mounts) {
      if (detach(base, basePath, mount, busy)) warnings.push(`${shownPoint(mount)} was in use, and detached lazily`)
    }
  }
  requireNoMounts(path)
  return warnings
}

/** What becomes of a mount that is in use. */
export type Busy = "detach" | "keep"

/** Throws a failure that names what is still mounted on a path or below it. */
export function requireNoMounts(path: string): void {
  const [mount] = mountsBelow(path)
  if (mount === undefined) return
  const hint = `nothing was deleted; find out what mounts there, then: umount ${shownPoint(mount)}`
  throw new Failure("FAILED", `${shownPoint(mount)} is still mounted`, { hint })
}

// --- internal ---

/** Whether the mount was busy to the end and detached lazily. What is gone meanwhile, or elsewhere, is left alone. */
function detach(base: number, basePath: string, mount: Mount, busy: Busy): boolean {
  const beneath = Buffer.from(mount.point, "latin1").subarray(Buffer.byteLength(basePath) + 1)
  const parts = split(beneath)
  const name = parts.pop()
  if (name === undefined) return false
  const detached = () =>
    withDescriptor(walk(base, parts), (parent) => {
      if (Number(statAt(parent, name).mountId) !== mount.id) return false
      return detachBusy(parent, name, mount, busy)
    })
  // Gone, or no mount any more, or the directories above it were swapped: the next reading of the table tells.
  return unlessAbsent(detached, ["ENOENT", "EINVAL", "ENOTDIR", "ELOOP"]) ?? false
}

function detachBusy(parent: number, name: Uint8Array, mount: Mount, busy: Busy): boolean {
  let cause: unknown
  for (const wait of BUSY_WAITS_MS) {
    try {
      unmountAt(parent, name)
      return false
    } catch (error) {
      if (errorCode(error) !== "EBUSY") throw error
      cause = error
      Bun.sleepSync(wait)
    }
  }
  if (busy === "keep") {
    const hint = `see who uses it: fuser -vm ${shownPoint(mount)}`
    throw new Failure("FAILED", `${shownPoint(mount)} is mounted and in use`, { hint, cause })
  }
  unmountAt(parent, name, UMOUNT.DETACH)
  return true
}

/** Opens a directory component by component: a path of many could be longer than one call takes. */
function walk(base: number, parts: readonly Uint8Array[]): number {
  let fd = openBeneathMounts(base, ".", O.PATH | O_DIRECTORY)
  for (const part of parts) {
    const next = enter(fd, part)
    close(fd)
    fd = next
  }
  return fd
}

function enter(fd: number, part: Uint8Array): number {
  try {
    return openBeneathMounts(fd, part, O.PATH | O_DIRECTORY | O_NOFOLLOW)
  } catch (error) {
    close(fd)
    throw error
  }
}

function split(path: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = []
  let start = 0
  for (let at = 0; at <= path.length; at++) {
    if (at < path.length && path[at] !== SLASH) continue
    parts.push(path.subarray(start, at))
    start = at + 1
  }
  return parts
}

const SLASH = 47

function shownPoint({ point }: Mount): string {
  return Buffer.from(point, "latin1").toString()
}
