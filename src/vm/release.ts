import { basename, isAbsolute } from "node:path"
import { ignoring } from "../base/linux/errors.ts"
import { inodeOf, statPath } from "../base/linux/files.ts"
import { Failure, messageOf } from "../base/terms/failure.ts"
import { removeCgroup } from "../host/cgroup/cgroup.ts"
import { type JailSite, jailRoot } from "../host/jail/base.ts"
import { tearDown } from "../host/jail/tearDown.ts"
import { endMembers } from "../host/process/members.ts"
import { findVmm } from "../host/search/findVmm.ts"
import { removeDirectory } from "../store/files/removeDirectory.ts"
import type { Resource } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"
import type { Journal } from "./journal.ts"
import { vmmQuery, vmmUnknown } from "./liveness.ts"
import { releaseNetwork } from "./network.ts"

/** A killed process has this long to be gone, in milliseconds. */
const KILL_WAIT_MS = 10_000

/**
 * Gives back everything a journal names, newest first, and proves each gone. One failure does not stop the others,
 * except that the files of a process stay while it may live. What failed stays in the journal and is returned; `warn`
 * hears of what went, but not as it should.
 */
export function releaseAll(journal: Journal, layout: VmLayout, warn: (text: string) => void): readonly Failure[] {
  const failures: Failure[] = []
  const kept: Resource[] = []
  const seen = { cgroupEmpty: false }
  const attempt = (work: () => void, onFailure: () => void) => {
    try {
      work()
    } catch (error) {
      failures.push(error instanceof Failure ? error : new Failure("FAILED", messageOf(error), { cause: error }))
      onFailure()
    }
  }
  for (const resource of journal.resources.toReversed()) {
    if (kept.some(({ kind }) => kind === "process" || kind === "cgroup")) kept.unshift(resource)
    else
      attempt(
        () => release(resource, journal, layout, seen, warn),
        () => kept.unshift(resource),
      )
  }
  // Struck at the end, in one write: a full disk must not keep anything from being released.
  attempt(
    () => journal.keepOnly(kept),
    () => {},
  )
  return failures
}

// --- internal ---

function release(
  resource: Resource,
  journal: Journal,
  layout: VmLayout,
  seen: { cgroupEmpty: boolean },
  warn: (text: string) => void,
): void {
  const { id, jails, stage } = layout
  if (resource.kind === "process")
    killVmm(journal.resources, layout, seen.cgroupEmpty && resource.identity !== null, warn)
  else if (resource.kind === "cgroup") seen.cgroupEmpty = removeCgroup(requireOwn(resource.path, id), KILL_WAIT_MS)
  else if (resource.kind === "jail") {
    const site = { base: jails, vmm: resource.vmm, id }
    // An emptied cgroup has proven it already.
    if (!seen.cgroupEmpty) emptyJail(site, resource.root)
    tearDown(site, resource.root).forEach(warn)
  } else if (resource.kind === "network") releaseNetwork(journal.db, resource, layout, warn)
  else if (resource.kind === "stage") removeDirectory(requireSame(resource.path, stage))
  else if (resource.kind === "runtime") removeDirectory(requireOwn(resource.path, id))
}

/** Ends what a VMM has left running in its jail, where there is no cgroup to end it. */
function emptyJail(site: JailSite, root: string | null): void {
  // ENOENT: it was never put in its place, or is gone: nobody runs in it.
  ignoring(["ENOENT"], () => {
    const stat = statPath(jailRoot(site))
    if (root !== null && inodeOf(stat) === root && stat.uid !== 0) endMembers(root, stat.uid, KILL_WAIT_MS)
  })
}

/** A journal whose paths were altered leads nowhere but to this VM's own. */
function requireOwn(path: string, id: string): string {
  if (basename(path) === id && isAbsolute(path)) return path
  throw new Failure("FAILED", `${path} in the journal is not of ${id}: left alone`)
}

function requireSame(path: string, own: string): string {
  if (path === own) return path
  throw new Failure("FAILED", `${path} in the journal is not ${own}: left alone`)
}

/**
 * Until none is found: of one whose identity was not written down there may be several. A VMM joins its cgroup before its
 * identity is written down: then an empty one has proven it gone, when it is not known to be elsewhere.
 */
function killVmm(journal: readonly Resource[], layout: VmLayout, proven: boolean, warn: (text: string) => void): void {
  const deadline = performance.now() + KILL_WAIT_MS
  const sought = vmmQuery(journal, layout)
  if (sought === undefined) return
  const heard = new Set<string>()
  for (;;) {
    using found = findVmm(sought)
    for (const doubt of found.warnings) if (!heard.has(doubt)) warn(doubt)
    for (const doubt of found.warnings) heard.add(doubt)
    if (found.is === "unknown" && !proven) throw vmmUnknown(sought, found, layout)
    if (found.is !== "alive") return
    found.process.kill(Math.max(0, deadline - performance.now()))
  }
}
