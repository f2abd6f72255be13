import { findVmm } from "../process/findVmm.ts"
import type { ProcessIdentity, Resource } from "../state/handles.ts"
import type { VmLayout } from "../state/places.ts"
import type { VmRecord } from "../state/records.ts"
import { Failure } from "../terms/failure.ts"
import { soughtVmm, unknownVmm } from "./soughtVmm.ts"

/**
 * What is known of a VM: proven alive (the pidfd is the caller's to close), proven dead, or neither. `doubts` are what
 * names another process than its VMM.
 */
export type VmTruth = { readonly doubts: readonly string[] } & (
  | { is: "alive"; pid: number; pidfd: number; identity: ProcessIdentity }
  | { is: "dead"; why: string }
  | { is: "cannot tell"; why: string; hint: string | undefined }
)

/** Whether a VM's VMM runs, by its journal (see `findVmm`). Never throws: that it cannot be told is an answer. */
export function truthOfVm(
  record: Pick<VmRecord, "boot_id">,
  layout: VmLayout,
  resources: readonly Resource[],
): VmTruth {
  const sought = soughtVmm(resources, layout, record.boot_id)
  if (sought === undefined) return { is: "dead", why: "its VMM was never started", doubts: [] }
  const found = findVmm(sought)
  const { doubts } = found
  if (found.is === "dead") return { is: "dead", why: found.why, doubts }
  if (found.is === "unknown") {
    const { message, hint } = unknownVmm(sought, found, layout)
    return { is: "cannot tell", why: message, hint, doubts }
  }
  const { identity, pidfd } = found
  return { is: "alive", pid: identity.pid, pidfd, identity, doubts }
}

/** The failure of a VM of which it cannot be told whether it runs. */
export function undecided(record: VmRecord, { why, hint }: { why: string; hint?: string | undefined }): Failure {
  return new Failure(`cannot tell whether ${record.name} (${record.id}) runs: ${why}`, { hint })
}
