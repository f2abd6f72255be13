import type { Database } from "bun:sqlite"
import { readdirSync } from "node:fs"
import { basename, dirname } from "node:path"
import { O, O_DIRECTORY, O_NOFOLLOW } from "../../base/linux/constants.ts"
import { errorCode, ignoring } from "../../base/linux/errors.ts"
import { inodeOf, openAt, openBeneath, rmdirAt, unlinkAt, withDescriptor } from "../../base/linux/files.ts"
import { AT_FDCWD } from "../../base/linux/guards.ts"
import { UMOUNT, unmountAt } from "../../base/linux/mounts.ts"
import { isFailure, messageOf } from "../../base/terms/failure.ts"
import { cgroupPath, removeEmptyCgroup } from "../../host/cgroup/cgroup.ts"
import { tearDown } from "../../host/jail/tearDown.ts"
import { removeDirectory } from "../../store/files/removeDirectory.ts"
import { removeTree } from "../../store/files/removeTree.ts"
import { ownerOfMark, RUNTIME_MARK } from "../../store/state/mark.ts"
import type { Places } from "../../store/state/places.ts"
import { freeUid } from "../../store/state/uids.ts"
import { statOf } from "./age.ts"
import type { JailTrace, Orphan } from "./findOrphans.ts"
import { rootOf } from "./judge.ts"
import type { Leftover, LeftoverKind } from "./leftover.ts"
import { runtimeMark } from "./owner.ts"

/** Each thing of a VM's, with the way to remove it, in the order that it goes. */
interface Step {
  readonly kind: LeftoverKind
  readonly name: string
  /** Proves it gone, or throws. */
  readonly remove: () => void
}

/**
 * Removes what a dead VM without a record left, its directory last: with the lock in it, and the journal that tells of
 * the rest to a sweep after this one. What cannot be removed keeps what comes after it. Never throws.
 */
export function removeOrphan(traces: Orphan, db: Database, where: Places, why: string): readonly Leftover[] {
  const done: Leftover[] = []
  for (const { kind, name, remove } of stepsOf(traces, db, where)) {
    try {
      remove()
      done.push({ kind, name, vm: traces.id, is: "removed", why })
    } catch (error) {
      const hint = isFailure(error) ? error.hint : undefined
      done.push({ kind, name, vm: traces.id, is: isInUse(error) ? "alive" : "failed", why: messageOf(error), hint })
      break
    }
  }
  return done
}

/** What would be removed, for a dry run. */
export function listTraces(traces: Orphan, db: Database, where: Places): readonly Pick<Step, "kind" | "name">[] {
  return stepsOf(traces, db, where)
}

// --- internal ---

function stepsOf({ id, vm, runtime, jails, cgroup, uid }: Orphan, db: Database, where: Places): readonly Step[] {
  const steps: (Step | undefined)[] = [
    cgroup === undefined
      ? undefined
      : { kind: "cgroup", name: cgroupPath(cgroup, id), remove: () => removeEmptyCgroup(cgroupPath(cgroup, id)) },
    ...jails.map((jail) => ({ kind: "jail", name: jail.path, remove: () => removeJail(jail) }) as const),
    runtime === undefined
      ? undefined
      : { kind: "runtime", name: runtime, remove: () => removeRuntime(runtime, where.state) },
    // Last of what another VM could get: with its jail gone nothing on this host is of that uid.
    uid === undefined ? undefined : { kind: "uid", name: String(uid), remove: () => freeUid(db, id) },
    vm === undefined ? undefined : { kind: "vm", name: vm, remove: () => removeDirectory(vm) },
  ]
  return steps.filter((step) => step !== undefined)
}

/** A process joined the cgroup, something was put into the directory, a mount is in use: somebody is there after all. */
function isInUse(error: unknown): boolean {
  const codes = [error, error instanceof Error ? error.cause : undefined].map(errorCode)
  return codes.includes("EBUSY") || codes.includes("ENOTEMPTY")
}

/** What is mounted in it and in use is not taken from whoever uses it, unlike that of a VM which is known to be dead. */
function removeJail(jail: JailTrace): void {
  // An earlier step may have taken all of it.
  if (statOf(jail.path) === undefined) return
  const root = jail.place === "trash" ? undefined : rootOf(jail)
  tearDown(jail.site, root === undefined ? null : inodeOf(root), "keep")
}

/**
 * The mark goes last, so that one that is left half removed is known for ours still. What has no mark is only removed
 * while it is empty.
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
      // Its network namespace, which no process is in.
      if (entry.isFile()) ignoring(["EINVAL", "ENOENT"], () => unmountAt(dir, entry.name, UMOUNT.DETACH))
      ignoring(["ENOENT"], () => unlinkAt(dir, entry.name))
    }
  }
}
