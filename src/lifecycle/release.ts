import { basename, dirname } from "node:path"
import { removeTree } from "../jail/removeTree.ts"
import { O, O_DIRECTORY } from "../linux/constants.ts"
import { errorCode } from "../linux/errors.ts"
import { close, openAt, statAt, withDescriptor } from "../linux/files.ts"
import { AT_FDCWD } from "../linux/guards.ts"
import { pidfdExited, pidfdSignal } from "../linux/pidfd.ts"
import { processesWritingTo } from "../process/holders.ts"
import { truthOf } from "../process/identity.ts"
import { SIGKILL } from "../process/spawn.ts"
import type { ProcessIdentity, Resource } from "../state/handles.ts"
import type { VmLayout } from "../state/places.ts"
import { Failure, reason } from "../terms/failure.ts"
import type { Journal } from "./journal.ts"

/** A killed process has this long to be gone, in milliseconds. */
const KILL_WAIT = 10_000

/**
 * Gives back everything a journal names, newest first, and proves each gone before it is struck. One failure does not
 * stop the others; what failed stays in the journal and is returned.
 */
export function releaseAll(journal: Journal, layout: VmLayout): readonly Failure[] {
  const failures: Failure[] = []
  for (const resource of journal.resources.toReversed()) {
    try {
      // Files a live process may still use are not taken away under it.
      if (resource.kind !== "process" && failures.length > 0) throw new Failure(`${resource.path} is kept`)
      release(resource, layout)
      journal.strike(resource)
    } catch (error) {
      failures.push(error instanceof Failure ? error : new Failure(reason(error), { cause: error }))
    }
  }
  return failures
}

// --- internal ---

function release(resource: Resource, layout: VmLayout): void {
  if (resource.kind !== "process") removeDirectory(resource.path)
  else if (resource.identity === null) requireNobody(layout)
  else endProcess(resource.identity)
}

function removeDirectory(path: string): void {
  let parent: number
  try {
    parent = openAt(AT_FDCWD, dirname(path), O.PATH | O_DIRECTORY)
  } catch (error) {
    // The directory above it is gone (a reboot empties /run), and what was in it with it.
    if (errorCode(error) === "ENOENT") return
    throw error
  }
  withDescriptor(parent, (dir) => {
    removeTree(dir, basename(path))
    try {
      statAt(dir, basename(path))
    } catch (error) {
      if (errorCode(error) === "ENOENT") return
      throw error
    }
    throw new Failure(`${path} is still there after its removal`)
  })
}

/** Kills the VMM if it still runs. Throws on "cannot tell": then nothing was signalled. */
function endProcess(identity: ProcessIdentity): void {
  const truth = truthOf(identity)
  if (truth.is === "unknown") throw new Failure(`cannot tell whether process ${identity.pid} is this VM: ${truth.why}`)
  if (truth.is === "dead") return
  try {
    pidfdSignal(truth.pidfd, SIGKILL)
    if (!pidfdExited(truth.pidfd, KILL_WAIT)) throw new Failure(`process ${identity.pid} does not die`)
  } finally {
    close(truth.pidfd)
  }
}

/** A crash between starting the VMM and writing its identity down: it is known by the console it writes to. */
function requireNobody(layout: VmLayout): void {
  const pids = processesWritingTo(layout.consoleLog)
  if (pids.length === 0) return
  const hint = `make sure that it is this VM's, then end it: kill -9 ${pids.join(" ")}`
  throw new Failure(`process ${pids.join(", ")} writes to ${layout.consoleLog}`, { hint })
}
