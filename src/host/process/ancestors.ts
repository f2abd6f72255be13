import { readFileSync } from "node:fs"
import { statFields } from "../../base/linux/ended.ts"

/** More generations than a process can have: a pid that is given away meanwhile could close a circle. */
const ANCESTORS_MAX_COUNT = 4096

/** The parent of a process from the text of /proc/PID/stat: field 4. Undefined when there is none. */
export function parseParent(stat: string): number | undefined {
  const pid = Number(statFields(stat)[1])
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined
}

/** The parent of a process, its parent, and so on, as far as /proc tells. */
export function ancestorsOf(pid: number): readonly number[] {
  const ancestors: number[] = []
  for (
    let parent = parentOf(pid);
    parent !== undefined && ancestors.length < ANCESTORS_MAX_COUNT;
    parent = parentOf(parent)
  )
    ancestors.push(parent)
  return ancestors
}

/** The parent of a process; undefined where it has ended, or /proc hides it. */
export function parentOf(pid: number): number | undefined {
  try {
    return parseParent(readFileSync(`/proc/${pid}/stat`, "latin1"))
  } catch {
    return undefined
  }
}
