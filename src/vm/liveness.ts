import * as v from "valibot"
import { Failure } from "../base/terms/failure.ts"
import { API_SOCKET, bareArgv } from "../host/firecracker/argv.ts"
import { jailRoot } from "../host/jail/base.ts"
import { closing, type PidRef } from "../host/process/pidRef.ts"
import type { FoundVmm } from "../host/search/findVmm.ts"
import { findVmm } from "../host/search/findVmm.ts"
import { processUnknown } from "../host/search/holders.ts"
import type { VmmQuery } from "../host/search/query.ts"
import type { ProcessIdentity, Resource } from "../store/state/handles.ts"
import type { VmLayout } from "../store/state/places.ts"
import type { VmRecord } from "../store/state/records.ts"

/** The three answers there are to whether a VM runs. */
export const livenessSchema = v.picklist(["alive", "dead", "unknown"])

/**
 * What is known of a VM: proven alive (the caller closes the process), proven dead, or neither. `warnings` are what
 * names another process than its VMM.
 */
export type VmLiveness = Disposable & { readonly warnings: readonly string[] } & (
    | { is: "alive"; process: PidRef; identity: ProcessIdentity }
    | { is: "dead"; why: string }
    | { is: "unknown"; why: string; hint: string | undefined }
  )

/** Whether a VM's VMM runs, by its journal (see `findVmm`). Never throws: that it cannot be told is an answer. */
export function livenessOf(
  record: Pick<VmRecord, "boot_id">,
  layout: VmLayout,
  resources: readonly Resource[],
): VmLiveness {
  const sought = vmmQuery(resources, layout, record.boot_id)
  if (sought === undefined) return closing({ is: "dead", why: "its VMM was never started", warnings: [] })
  using found = findVmm(sought)
  const { warnings } = found
  if (found.is === "dead") return closing({ is: "dead", why: found.why, warnings })
  if (found.is === "unknown") {
    const { message, hint } = vmmUnknown(sought, found, layout)
    return closing({ is: "unknown", why: message, hint, warnings })
  }
  return closing({ is: "alive", process: found.process.move(), identity: found.identity, warnings })
}

/** The failure of a VM of which it cannot be told whether it runs. */
export function livenessUnknown(record: VmRecord, { why, hint }: { why: string; hint?: string | undefined }): Failure {
  return new Failure("FAILED", `cannot tell whether ${record.name} (${record.id}) runs: ${why}`, { hint })
}

/**
 * What a VM's journal says of its VMM, for `findVmm`; undefined when none was about to be started. `bootId` is of the boot
 * it was started in, as its record has it. Pure.
 */
export function vmmQuery(resources: readonly Resource[], layout: VmLayout, bootId?: string): VmmQuery | undefined {
  const process = find(resources, "process")
  if (process === undefined) return undefined
  const jail = find(resources, "jail")
  const { id, jails, runtime } = layout
  return {
    ...{ identity: process.identity, pidNamespace: process.pidNamespace, bootId, console: layout.consoleLog },
    ...{ cgroup: find(resources, "cgroup")?.path, socket: API_SOCKET },
    ...(jail === undefined
      ? {
          bare: {
            directory: runtime,
            commandLines: [bareArgv("", id, `${runtime}/`, layout.firecrackerLog).slice(1), ["-name", id]],
          },
        }
      : // The jailer's pidfile is named after the program, as the directory of its jails is.
        {
          jail: { path: jailRoot({ base: jails, vmm: jail.vmm, id }), root: jail.root },
          pidfile: `${jail.vmm}.pid`,
        }),
  }
}

/** The failure of a VM of which it could not be found out whether it runs. */
export function vmmUnknown(
  { identity }: VmmQuery,
  { why, hint }: Extract<FoundVmm, { is: "unknown" }>,
  { id }: VmLayout,
): Failure {
  if (identity !== null) return processUnknown(identity.pid, why, { hint })
  return new Failure("FAILED", why.startsWith("cannot tell") ? why : `cannot tell whether ${id} runs: ${why}`, { hint })
}

// --- internal ---

function find<K extends Resource["kind"]>(resources: readonly Resource[], kind: K) {
  return resources.find((resource): resource is Extract<Resource, { kind: K }> => resource.kind === kind)
}
