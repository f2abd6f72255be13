import { readFileSync } from "node:fs"
import * as v from "valibot"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { hookEventSchema } from "../../store/state/events.ts"
import type { VmLayout } from "../../store/state/places.ts"

/** How many postBoot hooks of a VM are done, as its events tell: a line each. */
export function countPostBoots({ events }: Pick<VmLayout, "events">): number {
  const lines = unlessAbsent(() => readFileSync(events, "utf8"))?.split("\n") ?? []
  return lines.filter((line) => {
    const { success, output } = v.safeParse(v.pipe(v.string(), v.parseJson(), hookEventSchema), line)
    return success && output.hook === "postBoot" && output.error === undefined
  }).length
}
