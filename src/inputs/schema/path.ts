import * as v from "valibot"

/** A path as a plugin writes it. */
export const path = v.pipe(
  v.string("a path"),
  v.nonEmpty("a path, not an empty string"),
  v.check((text) => !text.includes("\0"), "a path without NUL characters"),
)

/** The first of some ids that another of them is equal to. */
export function repeated(ids: readonly (string | undefined)[]): string | undefined {
  return ids.find((id, index) => id !== undefined && ids.indexOf(id) !== index)
}
