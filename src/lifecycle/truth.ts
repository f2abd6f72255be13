import { bootId } from "../state/bootId.ts"
import type { ProcessIdentity, Resource } from "../state/handles.ts"
import type { VmLayout } from "../state/places.ts"
import type { VmRecord } from "../state/records.ts"
import { Failure, isFailure } from "../terms/failure.ts"
import { runningVmm } from "./runningVmm.ts"

/** What is known of a VM: proven alive (the pidfd is the caller's to close), proven dead, or neither. */
export type VmTruth =
  | { is: "alive"; pid: number; pidfd: number; identity: ProcessIdentity | null }
  | { is: "dead"; why: string }
  | { is: "cannot tell"; why: string; hint: string | undefined }

/** Whether a VM's VMM runs, by its journal. Never throws a failure: that it cannot be told is an answer. */
export function truthOfVm(
  record: Pick<VmRecord, "boot_id">,
  layout: VmLayout,
  resources: readonly Resource[],
): VmTruth {
  const entry = resources.find((resource) => resource.kind === "process")
  if (entry === undefined) return { is: "dead", why: "its VMM was never started" }
  if (entry.identity === null && record.boot_id !== bootId()) return { is: "dead", why: "the host was rebooted since" }
  try {
    const [holder, ...others] = runningVmm(entry, layout)
    if (holder === undefined) return { is: "dead", why: "its VMM has ended" }
    if (others.length === 0) return { is: "alive", ...holder, identity: entry.identity }
    const pids = [holder, ...others].map(({ pid }) => pid).join(", ")
    return { is: "cannot tell", why: `the processes ${pids} write to its console`, hint: undefined }
  } catch (error) {
    if (isFailure(error)) return { is: "cannot tell", why: error.message, hint: error.hint }
    throw error
  }
}

/** The failure of a VM of which it cannot be told whether it runs. */
export function undecided(record: VmRecord, { why, hint }: { why: string; hint?: string | undefined }): Failure {
  return new Failure(`cannot tell whether ${record.name} (${record.id}) runs: ${why}`, { hint })
}
