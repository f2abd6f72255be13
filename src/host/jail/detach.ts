import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { close, openBeneathMounts, statAt, withDescriptor } from "../../base/linux/files.ts"
import { UMOUNT, unmountAt } from "../../base/linux/mounts.ts"
import { Failure } from "../../base/terms/failure.ts"
import type { HostPath } from "../../base/terms/path.ts"
import { type Mount, mountsBelow } from "./mountTable.ts"

/** The table is read anew at most so often, so that a process that keeps moving directories cannot hold us up for ever. */
const ROUNDS_MAX_COUNT = 64

/** The waits for a mount that is in use, before it is detached lazily. */
const BUSY_WAITS_MS = [10, 20, 40, 80, 160]

/** The directory that all jails are in: a descriptor of it, and its path. */
export interface Base {
  readonly fd: number
  readonly path: HostPath
}

/**
 * Detaches all that is mounted on the directory `path` or below it, innermost first, each through its parent's
 * descriptor, which is reached from `base` without following a symlink. Returns a warning for each mount that was in use
 * and was detached lazily; with `busy: "keep"` such a mount is a failure. Throws a failure when a mount remains.
 */
export function detachBelow(base: Base, path: string, busy: Busy = "detach"): readonly string[] {
  const warnings: string[] = []
  for (let round = 0; round < ROUNDS_MAX_COUNT; round++) {
    const mounts = mountsBelow(path)
    if (mounts.length === 0) return warnings
    for (const mount of mounts) {
      if (detach(base, mount, busy)) warnings.push(`${shownPoint(mount)} was in use, and detached lazily`)
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
  const subject = shownPoint(mount)
  const hint = `nothing was deleted; find out what mounts there, then: umount ${subject}`
  throw new Failure("NOT_RELEASED", `${subject} is still mounted`, { hint, subject })
}

// --- internal ---

/** Detaches one mount; tells whether it was busy to the end, and so detached lazily. One that is gone is left alone. */
function detach(base: Base, mount: Mount, busy: Busy): boolean {
  const beneath = Buffer.from(mount.point, "latin1").subarray(Buffer.byteLength(base.path) + 1)
  const parts = split(beneath)
  const name = parts.pop()
  if (name === undefined) return false
  const detached = () =>
    withDescriptor(walk(base.fd, parts), (parent) => {
      if (Number(statAt(parent, name).mountId) !== mount.id) return false
      return detachBusy({ parent, name }, mount, busy)
    })
  // The mount is gone, or the directories above it were swapped: the next reading of the table tells.
  return unlessAbsent(detached, ["ENOENT", "EINVAL", "ENOTDIR", "ELOOP"]) ?? false
}

function detachBusy(
  { parent, name }: { readonly parent: number; readonly name: Uint8Array },
  mount: Mount,
  busy: Busy,
): boolean {
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
    const subject = shownPoint(mount)
    const hint = `see who uses it: fuser -vm ${subject}`
    throw new Failure("NOT_RELEASED", `${subject} is mounted and in use`, { hint, subject, cause })
  }
  unmountAt(parent, name, UMOUNT.DETACH)
  return true
}

/** Opens a directory component by component: the whole path could be longer than one call takes. */
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
