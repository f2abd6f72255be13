import { basename, isAbsolute } from "node:path"
import { tearDown } from "../jail/tearDown.ts"
import { close } from "../linux/files.ts"
import { removeCgroup } from "../process/cgroup.ts"
import type { Holder } from "../process/holders.ts"
import { killProcess } from "../process/kill.ts"
import type { Resource } from "../state/handles.ts"
import type { VmLayout } from "../state/places.ts"
import { Failure, reason } from "../terms/failure.ts"
import type { Journal } from "./journal.ts"
import { removeDirectory } from "./removeDirectory.ts"
import { runningVmm } from "./runningVmm.ts"

/** A killed process has this long to be gone, in milliseconds. */
const KILL_WAIT = 10_000

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
      failures.push(error instanceof Failure ? error : new Failure(reason(error), { cause: error }))
      onFailure()
    }
  }
  for (const resource of journal.resources.toReversed()) {
    if (kept.some(({ kind }) => kind === "process" || kind === "cgroup")) kept.unshift(resource)
    else
      attempt(
        () => release(resource, layout, seen, warn),
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
  layout: VmLayout,
  seen: { cgroupEmpty: boolean },
  warn: (text: string) => void,
): void {
  const { id, jails, stage } = layout
  // A VMM joins its cgroup before its identity is written down.
  const proven = resource.kind === "process" && resource.identity !== null && seen.cgroupEmpty
  if (resource.kind === "process") kill(proven ? [] : runningVmm(resource, layout))
  else if (resource.kind === "cgroup") seen.cgroupEmpty = removeCgroup(requireOwn(resource.path, id), KILL_WAIT)
  else if (resource.kind === "jail") tearDown({ base: jails, vmm: resource.vmm, id }, resource.root).forEach(warn)
  else if (resource.kind === "stage") removeDirectory(requireSame(resource.path, stage))
  else if (resource.kind === "runtime") removeDirectory(requireOwn(resource.path, id))
}

/** A journal whose paths were altered leads nowhere but to this VM's own. */
function requireOwn(path: string, id: string): string {
  if (basename(path) === id && isAbsolute(path)) return path
  throw new Failure(`${path} in the journal is not of ${id}: left alone`)
}

function requireSame(path: string, own: string): string {
  if (path === own) return path
  throw new Failure(`${path} in the journal is not ${own}: left alone`)
}

function kill(holders: readonly Holder[]): void {
  try {
    for (const { pid, pidfd } of holders) killProcess(pid, pidfd, KILL_WAIT)
  } finally {
    for (const { pidfd } of holders) close(pidfd)
  }
}
