import { Failure } from "../../base/terms/failure.ts"
import { shellWords } from "../../base/terms/shell.ts"
import { freeClaim } from "../../store/disks/claims.ts"
import { removeDirectory } from "../../store/files/removeDirectory.ts"
import { describeKept } from "../../store/kept/thing.ts"
import type { Resource } from "../../store/state/handles.ts"
import { noteStop } from "../../store/state/notes.ts"
import type { State } from "../../store/state/open.ts"
import type { VmLayout } from "../../store/state/places.ts"
import { recall } from "../../store/state/recall.ts"
import { deleteRecord, type VmRecord } from "../../store/state/records.ts"
import { isFinal } from "../../store/state/vmState.ts"
import { openJournal } from "../../vm/journal.ts"
import { livenessOf, runsElsewhere } from "../../vm/liveness.ts"
import { lockVmRecord } from "../../vm/lockVmRecord.ts"
import { type Untold, untoldKept } from "../../vm/proveAbsent.ts"

/** What a person gives up: a VM of which nothing can be told, or what is kept for one that has ended. */
export interface Forgettable {
  /** Whether the VM's record goes with it. */
  readonly removed: boolean
  /** Why nothing can be told of it. */
  readonly why: string
  /** What nobody looks after any more, a line each. */
  readonly givenUp: readonly string[]
}

/**
 * Gives up a VM of which nothing can be told: removes its record and its logs, and touches nothing else. `agreed` hears first what is
 * given up, while no other banger can act on the VM; where it returns false, all stays as it was, and so does this. What is left
 * of the VM is a sweep's to judge. Of a VM that has ended, what its plugin keeps is given up where nobody can tell whether it is still
 * there; the record stays, with all else. Throws WRONG_STATE for a VM that is known to run, or to have ended with nothing of the kind:
 * then it can be stopped or removed.
 */
export async function forgetVm(
  state: State,
  record: VmRecord,
  agreed: (what: Forgettable) => Promise<boolean>,
): Promise<Forgettable | undefined> {
  const { id, name } = record
  const wrong = (message: string, hint: string) => new Failure("WRONG_STATE", message, { hint, subject: id })
  const locked = lockVmRecord(state, id, "finish")
  if (locked === "gone") throw new Failure("NO_SUCH_VM", `${name} (${id}) is gone already`, { subject: id })
  if (locked === undefined)
    throw wrong(
      `a process has locked ${name} (${id}): it is looked after, here or in another container`,
      `banger stop ${id}`,
    )
  const { layout, record: now } = locked
  try {
    const known = journalOf(now, layout)
    if (typeof known !== "string") {
      using liveness = livenessOf(now, layout, known)
      if (liveness.is === "alive") throw wrong(`${name} (${id}) runs`, `to stop it: banger stop ${id}`)
      if (liveness.is === "dead") {
        const kept = isFinal(now.state) ? untoldKept(known) : []
        if (kept.length > 0) return await forgetKept(kept)
        throw wrong(`${name} (${id}) has ended: ${liveness.why}`, `to remove it, and all that it had: banger rm ${id}`)
      }
      const still = runsElsewhere(layout, known)
      if (still !== undefined)
        throw wrong(
          `${name} (${id}) runs, in another container: ${still}`,
          `do this there: banger stop ${id}; or, on the host itself, end what this names: fuser -v ${shellWords([layout.consoleLog])}`,
        )
      return await forget(liveness.why, known)
    }
    return await forget(known, [])
    async function forget(why: string, journal: readonly Resource[]): Promise<Forgettable | undefined> {
      const what = { removed: true, why, givenUp: journal.map((resource) => wordsOf(resource, layout)) }
      if (!(await agreed(what))) return undefined
      noteStop(state.db, name, "removed")
      for (const resource of journal)
        if (resource.kind === "disk") freeClaim(state.db, { disk: resource.name, vm: id }, () => {})
      removeDirectory(layout.dir)
      deleteRecord(state.db, id)
      return what
    }
    async function forgetKept(kept: readonly Untold[]): Promise<Forgettable | undefined> {
      const givenUp = kept.map(({ resource, why }) => `${wordsOf(resource, layout)}: ${why}`)
      const what = { removed: false, why: "it cannot be told whether what its plugin keeps is still there", givenUp }
      if (!(await agreed(what))) return undefined
      const journal = openJournal(state.db, layout, recall(now, layout.handles))
      const given = new Set(kept.map(({ resource }) => resource.number))
      journal.keepOnly(journal.resources.filter((one) => one.kind !== "kept" || !given.has(one.number)))
      return what
    }
  } finally {
    locked.lock.unlock()
  }
}

// --- internal ---

/** Why it cannot be read, where it cannot. */
function journalOf(record: VmRecord, layout: VmLayout): readonly Resource[] | string {
  try {
    return recall(record, layout.handles).journal
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Pure. */
function wordsOf(resource: Resource, { id, jails }: VmLayout): string {
  const { kind } = resource
  if (kind === "process")
    return resource.identity === null
      ? "its VMM, if it was started"
      : `its VMM, if it still runs (process ${resource.identity.pid} where it was started)`
  if (kind === "jail") return `its jail: ${jails}/${resource.vmm}/${id}`
  if (kind === "network") return `its network card: ${resource.link}`
  if (kind === "disk")
    return `its hold on the disk ${resource.name}: another VM can have it, while this one may still write it`
  if (kind === "cgroup") return `its cgroup: ${resource.path}`
  if (kind === "kept") return `what its plugin keeps: ${describeKept(resource.thing)}`
  return `its directory: ${resource.path}`
}
