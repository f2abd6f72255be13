import { readdirSync } from "node:fs"
import { basename, dirname } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode, ignoring } from "../../base/linux/errors.ts"
import { inodeOf, openAt, openBeneath, rmdirAt, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { UMOUNT, unmountAt } from "../../base/linux/mounts.ts"
import { whyOf } from "../../base/terms/failure.ts"
import { cgroupPath, removeEmptyCgroup } from "../../host/cgroup/cgroup.ts"
import { tearDown } from "../../host/jail/tearDown.ts"
import { removeDirectory } from "../../store/files/removeDirectory.ts"
import { removeTree } from "../../store/files/removeTree.ts"
import { ownerOfMark, RUNTIME_MARK } from "../../store/state/mark.ts"
import type { State } from "../../store/state/open.ts"
import { freeUid } from "../../store/state/uids.ts"
import { statOf } from "./age.ts"
import type { Orphan, OrphanJail } from "./findOrphans.ts"
import { rootOf } from "./judge.ts"
import type { Leftover, LeftoverKind } from "./leftover.ts"
import { runtimeMark } from "./owner.ts"

/** One part of an orphan, and how to remove it. */
interface Part {
  readonly kind: LeftoverKind
  readonly name: string
  /** Returns when the part is proven gone, else throws. */
  readonly remove: () => void
}

/**
 * Removes an orphan that is dead. The VM's directory goes last: it has the lock, and the journal that tells the next sweep
 * of the rest. A part that cannot be removed keeps those after it. Never throws.
 */
export function removeOrphan(orphan: Orphan, { db, where }: State, why: string): readonly Leftover[] {
  const done: Leftover[] = []
  for (const { kind, name, remove } of partsOf(orphan, { db, where })) {
    try {
      remove()
      done.push({ kind, name, vm: orphan.id, is: "removed", why })
    } catch (error) {
      const { why, hint, ...more } = whyOf(error)
      const verdict = isInUse(error) ? { is: "alive" as const } : { is: "failed" as const, ...more }
      done.push({ kind, name, vm: orphan.id, why, hint, ...verdict })
      break
    }
  }
  return done
}

/** An orphan's parts, in the order in which they would be removed. */
export function listParts(orphan: Orphan, state: State): readonly Pick<Part, "kind" | "name">[] {
  return partsOf(orphan, state)
}

// --- internal ---

function partsOf({ id, vm, runtime, jails, cgroup, uid }: Orphan, { db, where }: State): readonly Part[] {
  const parts: (Part | undefined)[] = [
    cgroup === undefined
      ? undefined
      : { kind: "cgroup", name: cgroupPath(cgroup, id), remove: () => removeEmptyCgroup(cgroupPath(cgroup, id)) },
    ...jails.map((jail) => ({ kind: "jail", name: jail.path, remove: () => removeJail(jail) }) as const),
    runtime === undefined
      ? undefined
      : { kind: "runtime", name: runtime, remove: () => removeRuntime(runtime, where.state) },
    // The last part that another VM could get: without the jail no file on this host belongs to that uid.
    uid === undefined ? undefined : { kind: "uid", name: String(uid), remove: () => freeUid(db, id) },
    vm === undefined ? undefined : { kind: "vm", name: vm, remove: () => removeDirectory(vm) },
  ]
  return parts.filter((part) => part !== undefined)
}

/** A process joined the cgroup, a file came into the directory, or a mount is in use: somebody uses it after all. */
function isInUse(error: unknown): boolean {
  const codes = [error, error instanceof Error ? error.cause : undefined].map(errorCode)
  return codes.includes("EBUSY") || codes.includes("ENOTEMPTY")
}

/** A mount in the jail that is in use stays in use: nothing has proven this VM dead, unlike one with a record. */
function removeJail(jail: OrphanJail): void {
  // Removing another part may have removed this one.
  if (statOf(jail.path) === undefined) return
  const root = jail.place === "trash" ? undefined : rootOf(jail)
  tearDown(jail.site, root === undefined ? null : inodeOf(root), "keep")
}

/**
 * The mark goes last, so that the next sweep knows a half-removed directory for ours. A directory without a mark is removed
 * only while it is empty.
 */
function removeRuntime(dir: string, state: string): void {
  const marked = ownerOfMark(runtimeMark(dir), state) === "ours"
  ignoring(["ENOENT"], () =>
    withDescriptor(openAt(AT_FDCWD, dirname(dir), O.PATH | O_DIRECTORY), (parent) => {
      if (marked) {
        withDescriptor(openBeneath(parent, basename(dir), O.RDONLY | O_DIRECTORY | O_NOFOLLOW), (fd) => {
          emptyRuntime(dir, fd)
          ignoring(["ENOENT"], () => unlinkAt(fd, RUNTIME_MARK))
        })
      }
      rmdirAt(parent, basename(dir))
    }),
  )
}

function emptyRuntime(path: string, dir: number): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.name === RUNTIME_MARK) continue
    if (entry.isDirectory()) removeTree(dir, entry.name)
    else {
      // The VM's network namespace is mounted on a file, and no process is in it.
      if (entry.isFile()) ignoring(["EINVAL", "ENOENT"], () => unmountAt(dir, entry.name, UMOUNT.DETACH))
      ignoring(["ENOENT"], () => unlinkAt(dir, entry.name))
    }
  }
}
