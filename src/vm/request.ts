import * as v from "valibot"
import type { VmRecord } from "../store/state/records.ts"

/** How a VM was asked for: what it takes to do so again, and to finish what was begun. */
export const requestSchema = v.strictObject({
  args: v.optional(v.array(v.string()), []),
  /** How many postStop hooks its plugin has; undefined when it is not known. */
  postStop: v.optional(v.number()),
  supervised: v.optional(v.boolean(), true),
  /** Whom root ran it for, by sudo, and the sha256 of each file that was loaded then. */
  asker: v.optional(v.strictObject({ uid: v.number(), files: v.array(v.string()) })),
})
export type VmRequest = v.InferOutput<typeof requestSchema>

/** How a VM was asked for; what cannot be read is left out. */
export function requestOf(record: VmRecord): VmRequest {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), requestSchema), record.request)
  return parsed.success ? parsed.output : { args: [], supervised: true }
}
