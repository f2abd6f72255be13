import { basename, isAbsolute } from "node:path"
import { bootId } from "../base/linux/bootId.ts"
import { ignoring } from "../base/linux/errors.ts"
import { inodeOf, statPath } from "../base/linux/files.ts"
import { asFailure, Failure, isFailure, joinFailures } from "../base/terms/failure.ts"
import { removeCgroup } from "../host/cgroup/cgroup.ts"
import { type JailSite, jailRoot } from "../host/jail/base.ts"
import { tearDown } from "../host/jail/tearDown.ts"
import { releaseKept } from "../host/kept/kept.ts"
import { endMembers } from "../host/process/members.ts"
import { findVmm } from "../host/search/findVmm.ts"
import { freeClaim } from "../store/disks/claims.ts"
import { takeBackDisk } from "../store/disks/readyDisk.ts"
import { removeDirectory } from "../store/files/removeDirectory.ts"
import type { Resource } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"
import type { Journal } from "./journal.ts"
import { livenessUnknown, toForget, vmmQuery } from "./liveness.ts"
import { releaseNetwork } from "./network.ts"

/** A killed process has this long to end, in milliseconds. */
export const KILL_WAIT_MS = 10_000

/**
 * Releases everything a journal names, newest first, and proves each thing gone. One failure does not stop the rest, but
 * while a process may run, its files stay, and while a thing that a plugin keeps is there, those that it has kept before; a disk is
 * given back, and stays. What failed stays on the journal, and its failures are returned. `warn` is told what was released, but not as
 * expected.
 */
export function releaseAll(journal: Journal, layout: VmLayout, warn: (text: string) => void): readonly Failure[] {
  const failures: Failure[] = []
  const staying = new Set<Resource>()
  const release: Release = { journal, layout, warn, cgroupEmpty: false, lastTry: true }
  const attempt = (work: () => void, onFailure: (failure: Failure) => void) => {
    try {
      work()
    } catch (error) {
      onFailure(asFailure(error, "NOT_RELEASED"))
    }
  }
  const releaseEach = (resources: readonly Resource[], onFailure: (failure: Failure, resource: Resource) => void) => {
    for (const resource of resources) {
      if ([...staying].some((stays) => keeps(stays, resource))) staying.add(resource)
      else
        attempt(
          () => releaseOne(release, resource),
          (failure) => {
            staying.add(resource)
            onFailure(failure, resource)
          },
        )
    }
  }
  let busy = false
  const told = (failure: Failure) => void failures.push(failure)
  const inJail = journal.resources.some(({ kind }) => kind === "jail" || kind === "stage")
  release.lastTry = !inJail
  releaseEach(journal.resources.toReversed(), (failure, { kind }) => {
    if (release.lastTry || kind !== "kept" || failure.code === "LIVENESS_UNKNOWN") told(failure)
    else busy = true
  })
  if (busy) {
    // What the jail has in use may go now that the jail has gone.
    release.lastTry = true
    const again = [...staying].filter(({ kind }) => kind === "kept")
    for (const resource of again) staying.delete(resource)
    releaseEach(again, told)
  }
  // Written once, at the end: a full disk must not keep anything from being released.
  attempt(() => journal.keepOnly(journal.resources.filter((resource) => staying.has(resource))), told)
  return failures
}

/** As `releaseAll`, and throws one failure of all that stays. */
export function releaseOrThrow(journal: Journal, layout: VmLayout, warn: (text: string) => void): void {
  const failures = releaseAll(journal, layout, warn)
  if (failures.length > 0) throw joinFailures(layout.id, failures)
}

// --- internal ---

/** So long, in milliseconds, something that the jail may have in use is waited for before the jail goes. */
const FIRST_TRY_MS = 200

interface Release {
  readonly journal: Journal
  readonly layout: VmLayout
  readonly warn: (text: string) => void
  /** The VM's cgroup was released: none of its processes is left. */
  cgroupEmpty: boolean
  /** Whether what a plugin keeps, and is in use, is waited for; else it is tried again once the jail has gone. */
  lastTry: boolean
}

/**
 * Whether a resource must stay while another one does: no file while a process may use it, no disk while a jail may have it; and of what
 * a plugin keeps, one thing may be made of those before it.
 */
function keeps({ kind }: Resource, { kind: other }: Resource): boolean {
  if (kind === "process" || kind === "cgroup") return true
  return (kind === "jail" && other === "disk") || (kind === "kept" && other === "kept")
}

function releaseOne(release: Release, resource: Resource): void {
  const { journal, layout, warn } = release
  const { id, jails, stage, disks } = layout
  if (resource.kind === "process") killVmm(release, release.cgroupEmpty && resource.identity !== null)
  else if (resource.kind === "cgroup") release.cgroupEmpty = removeCgroup(requireOwn(resource.path, id), KILL_WAIT_MS)
  else if (resource.kind === "jail") {
    const site = { base: jails, vmm: resource.vmm, id }
    // An empty cgroup has proven it already.
    if (!release.cgroupEmpty) emptyJail(site, resource.root)
    tearDown(site, resource.root).forEach(warn)
  } else if (resource.kind === "network") releaseNetwork(resource, { db: journal.db, layout, warn })
  else if (resource.kind === "kept") releaseThing(resource, release)
  else if (resource.kind === "stage") removeDirectory(requireSame(resource.path, stage))
  else if (resource.kind === "disk") {
    const { name } = resource
    freeClaim(journal.db, { disk: name, vm: id }, () => takeBackDisk(disks, name))
  } else if (resource.kind === "runtime") removeDirectory(requireOwn(resource.path, id))
}

function releaseThing(
  resource: Extract<Resource, { kind: "kept" }>,
  { layout: { id }, lastTry }: Pick<Release, "layout" | "lastTry">,
): void {
  try {
    releaseKept(resource, bootId(), lastTry ? {} : { patienceMs: FIRST_TRY_MS })
  } catch (error) {
    if (!isFailure(error) || error.code !== "LIVENESS_UNKNOWN") throw error
    const { message, subject, hint } = error
    const way = `${hint === undefined ? "" : `${hint}; `}${toForget(id)}`
    throw new Failure("LIVENESS_UNKNOWN", message, { hint: way, subject, cause: error })
  }
}

/** Kills what a VMM has left running in its jail, where no cgroup has done so. */
function emptyJail(site: JailSite, root: string | null): void {
  // ENOENT: the jail was never finished, or is gone. No process is in it.
  ignoring(["ENOENT"], () => {
    const stat = statPath(jailRoot(site))
    if (root !== null && inodeOf(stat) === root && stat.uid !== 0) endMembers(root, stat.uid, KILL_WAIT_MS)
  })
}

/** The path, if it is this VM's own: a journal that somebody has altered leads to nothing else. */
function requireOwn(path: string, id: string): string {
  if (basename(path) === id && isAbsolute(path)) return path
  throw new Failure("CHANGED", `${path} on the journal is not of ${id}: left alone`, { subject: path })
}

function requireSame(path: string, own: string): string {
  if (path === own) return path
  throw new Failure("CHANGED", `${path} on the journal is not ${own}: left alone`, { subject: path })
}

/**
 * Repeats until no VMM is found: without a recorded identity there may be several. `proven`: the VM's cgroup was found
 * empty. A VMM joins its cgroup before its identity is recorded, so an empty cgroup proves that a recorded VMM is gone,
 * even where /proc cannot tell.
 */
function killVmm({ journal, layout, warn }: Release, proven: boolean): void {
  const deadline = performance.now() + KILL_WAIT_MS
  const sought = vmmQuery(journal.resources, layout)
  if (sought === undefined) return
  const said = new Set<string>()
  for (;;) {
    using found = findVmm(sought)
    for (const warning of found.warnings) if (!said.has(warning)) warn(warning)
    for (const warning of found.warnings) said.add(warning)
    if (found.is === "unknown" && !proven) throw livenessUnknown(layout, found)
    if (found.is !== "alive") return
    found.process.kill(Math.max(0, deadline - performance.now()))
  }
}
