import type { Spec } from "../schema/vm.ts"
import { parseSpec } from "./definition.ts"

/** What of a VM's record tells its spec. */
interface Recorded {
  readonly spec: string
  readonly plugin_path: string
}

/**
 * The spec on a VM's record, with every default filled in. `only`: the fields that matter; the others get their defaults,
 * so that a record of another version can be read as far as that. Throws when these fields cannot be read.
 */
export function specOfRecord({ spec, plugin_path }: Recorded, only?: readonly (keyof Spec)[]): Spec {
  const written: Readonly<Record<string, unknown>> = JSON.parse(spec)
  const read = only === undefined ? written : Object.fromEntries(only.map((field) => [field, written[field]]))
  return parseSpec(read, { path: plugin_path, text: "" })
}
