import * as v from "valibot"
import type { VmRecord } from "../store/state/records.ts"

/** How a VM was asked for: with this it can be run again, and finished in the place of its supervisor. */
export const requestSchema = v.strictObject({
  args: v.optional(v.array(v.string()), []),
  /** How many postStop hooks its plugin has; undefined when that is not known. */
  postStop: v.optional(v.number()),
  supervised: v.optional(v.boolean(), true),
  /** Whether a service manager has started it, which starts it again. */
  service: v.optional(v.boolean()),
  /** The user that root ran it for, by sudo, and the sha256 of each file of the plugin. */
  asker: v.optional(v.object({ uid: v.number(), files: v.array(v.string()) })),
})
export type VmRequest = v.InferOutput<typeof requestSchema>

/** How a VM was asked for; the defaults when the record does not tell. */
export function requestOf(record: VmRecord): VmRequest {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), requestSchema), record.request)
  return parsed.success ? parsed.output : { args: [], supervised: true }
}
