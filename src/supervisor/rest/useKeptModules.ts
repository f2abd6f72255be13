import { readFileSync } from "node:fs"
import * as v from "valibot"
import { messageOf } from "../../base/terms/failure.ts"
import type { Log } from "../../base/terms/log.ts"
import { keptModulesSchema, useKept } from "../../inputs/plugin/keptModules.ts"

/**
 * Has a supervisor that wakes, or boots its VM again, load its plugin as it was before the rest (`modules`: where it was kept);
 * where that cannot be read, as the files are now.
 */
export function useKeptModules(modules: string, log: Log): void {
  try {
    useKept(v.parse(v.pipe(v.string(), v.parseJson(), keptModulesSchema), readFileSync(modules, "utf8")))
  } catch (error) {
    log.warn(`${modules} cannot be read: ${messageOf(error)}`)
  }
}
