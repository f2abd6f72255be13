import * as v from "valibot"
import { isFailure, messageOf } from "../base/terms/failure.ts"
import { limitsAt, presentLimitsSchema } from "../host/cgroup/present.ts"
import type { State } from "../store/state/open.ts"
import { vmLayout } from "../store/state/places.ts"
import { recall, recalledSchema } from "../store/state/recall.ts"
import { findRecord, type VmRecord } from "../store/state/records.ts"
import { isFinal } from "../store/state/vmState.ts"
import { entryOf } from "../vm/journal.ts"
import { requestSchema } from "../vm/request.ts"
import { statusOf, vmStatusSchema } from "../vm/status.ts"

/** All that is known of a VM: what `banger inspect` prints. */
export const inspectedSchema = v.strictObject({
  ...vmStatusSchema.entries,
  /** As the plugin wrote it; a text where it cannot be read. */
  spec: v.unknown(),
  request: v.union([requestSchema, v.string()]),
  pluginSha256: v.string(),
  bootId: v.string(),
  /** How many postStop hooks were begun, and are done. */
  postStop: v.strictObject({ begun: v.number(), done: v.number() }),
  dir: v.string(),
  consoleLog: v.string(),
  /** What the host must get back, and what was wrong with the places it is written down in. */
  journal: v.union([recalledSchema, v.strictObject({ troubles: v.array(v.string()) })]),
  /** What its cgroup allows it now; null: it has none. */
  limits: v.nullable(presentLimitsSchema),
  /** What a running Firecracker says of itself, in the words of its API; null when it cannot be asked. */
  vmmConfig: v.unknown(),
  balloonStatistics: v.unknown(),
  memoryHotplug: v.unknown(),
  /** Why it could not be asked. */
  vmmWhy: v.optional(v.string()),
})
export type Inspected = Readonly<v.InferOutput<typeof inspectedSchema>>

/** Looks at one VM, and asks its VMM, which has two seconds for each answer. Nothing is changed. */
export async function inspectVm(state: State, reference: string): Promise<Inspected> {
  const record = findRecord(state.db, reference)
  const layout = vmLayout(state.where, record.id)
  return {
    ...statusOf(state, record),
    spec: readAs(v.unknown(), record.spec),
    request: readAs(requestSchema, record.request),
    pluginSha256: record.plugin_sha256,
    bootId: record.boot_id,
    postStop: { begun: record.post_stop_begun, done: record.post_stop_done },
    dir: layout.dir,
    consoleLog: layout.consoleLog,
    ...journalAndLimits(record, layout.handles),
    ...(await vmmsWords(state, record)),
  }
}

// --- internal ---

/** Of a VM that has ended, and of QEMU, nothing is asked. */
async function vmmsWords(
  state: State,
  record: VmRecord,
): Promise<Pick<Inspected, "vmmConfig" | "balloonStatistics" | "memoryHotplug" | "vmmWhy">> {
  const nothing = (vmmWhy: string) => ({ vmmConfig: null, balloonStatistics: null, memoryHotplug: null, vmmWhy })
  if (record.vmm !== "firecracker") return nothing(`${record.vmm} is not asked for its configuration`)
  if (isFinal(record.state)) return nothing("it has ended")
  const { askVmm } = await import("../supervisor/askVmm.ts")
  return askVmm(state, record)
}

function journalAndLimits(record: VmRecord, handles: string): Pick<Inspected, "journal" | "limits"> {
  try {
    const journal = recall(record, handles)
    const cgroup = entryOf(journal.journal, "cgroup")?.path
    return { journal, limits: (cgroup !== undefined && limitsAt(cgroup)) || null }
  } catch (error) {
    if (isFailure(error)) return { journal: { troubles: [messageOf(error)] }, limits: null }
    throw error
  }
}

/** What cannot be read is shown as it is: whoever inspects a VM wants to see just that. */
function readAs<T>(schema: v.GenericSchema<unknown, T>, text: string): T | string {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text)
  return parsed.success ? parsed.output : text
}
