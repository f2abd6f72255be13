import * as v from "valibot"

/** What `banger update --check --json` prints. */
export const updateCheckSchema = v.strictObject({
  current: v.string(),
  latest: v.string(),
  /** Whether the latest is newer than this one. */
  newer: v.boolean(),
})
export type UpdateCheck = v.InferOutput<typeof updateCheckSchema>
