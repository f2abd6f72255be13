import { Failure } from "../base/terms/failure.ts"
import type { Unknown } from "../base/terms/liveness.ts"
import { API_SOCKET, bareArgv } from "../host/firecracker/argv.ts"
import { jailRoot } from "../host/jail/base.ts"
import { ELSEWHERE } from "../host/process/identity.ts"
import { closing } from "../host/process/pidRef.ts"
import { type FoundVmm, findVmm } from "../host/search/findVmm.ts"
import { runsOn } from "../host/search/provenGone.ts"
import type { VmmQuery } from "../host/search/query.ts"
import type { Resource } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"
import type { VmRecord } from "../store/state/records.ts"
import { entryOf } from "./journal.ts"

/** What is known of a VM's VMM (see `findVmm`). */
export type VmLiveness = FoundVmm

/** Whether a VM's VMM runs, by its journal. Never throws: that it cannot be told is an answer. */
export function livenessOf(
  record: Pick<VmRecord, "boot_id">,
  layout: VmLayout,
  resources: readonly Resource[],
): VmLiveness {
  const sought = vmmQuery(resources, layout, record.boot_id)
  return sought === undefined
    ? closing({ is: "dead", why: "its VMM was never started", warnings: [] })
    : withWayOut(layout.id, findVmm(sought))
}

/** Why a VM whose pid cannot be asked for surely runs, in another container; undefined where nothing tells. Throws nothing. */
export function runsElsewhere(layout: VmLayout, resources: readonly Resource[]): string | undefined {
  const sought = vmmQuery(resources, layout)
  return sought && runsOn(sought)
}

/** For a VM that may run or not: nothing can tell, so it is left alone. */
export function livenessUnknown(
  { id, name }: { id: string; name?: string },
  { why, hint }: Omit<Unknown, "is">,
): Failure {
  const vm = name === undefined ? id : `${name} (${id})`
  return new Failure("LIVENESS_UNKNOWN", `cannot tell whether ${vm} runs: ${why}`, {
    subject: id,
    hint: wayOut(id, hint),
  })
}

/**
 * What a VM's journal tells `findVmm` of the VMM; undefined when none was about to be started. `bootId`: the boot that the
 * VM was started in, by its record. Pure.
 */
export function vmmQuery(resources: readonly Resource[], layout: VmLayout, bootId?: string): VmmQuery | undefined {
  const process = entryOf(resources, "process")
  if (process === undefined) return undefined
  const jail = entryOf(resources, "jail")
  const { id, jails, runtime } = layout
  return {
    ...{ identity: process.identity, pidNamespace: process.pidNamespace, bootId, console: layout.consoleLog },
    consoleHeld: layout.consoleHeld,
    ...{ cgroup: entryOf(resources, "cgroup")?.path, socket: API_SOCKET },
    ...(jail === undefined
      ? {
          bare: {
            directory: runtime,
            commandLines: [
              // What only some settings add to it comes last.
              bareArgv({ executable: "", id, runtime, log: layout.firecrackerLog, pci: false }).slice(1),
              ["-name", id],
            ],
          },
        }
      : // The jailer names its pidfile, and the directory of its jails, after the program.
        {
          jail: { path: jailRoot({ base: jails, vmm: jail.vmm, id }), root: jail.root },
          pidfile: `${jail.vmm}.pid`,
        }),
  }
}

/** What is left to a person who knows that nobody can tell. Pure. */
export function toForget(id: string): string {
  return `where nobody can tell any more: banger forget ${id}`
}

// --- internal ---

function withWayOut(id: string, found: FoundVmm): FoundVmm {
  if (found.is !== "unknown") return found
  return closing({ is: "unknown", why: found.why, hint: wayOut(id, found.hint), warnings: found.warnings })
}

/** Nobody is left without a next command: what can be told by nobody can still be given up. */
function wayOut(id: string, hint: string | undefined): string {
  const forget = `banger forget ${id}`
  if (hint === undefined) return `if nothing can tell any more: ${forget}`
  if (hint.includes(forget)) return hint
  return hint === ELSEWHERE ? `${hint}; if that is gone: ${forget}` : hint
}
