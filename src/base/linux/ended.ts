import { readdirSync, readFileSync } from "node:fs"
import { errorCode } from "./errors.ts"

/**
 * The fields of the text of /proc/PID/stat (proc(5)) from the third on, the process's state: it chooses its own name before that,
 * which may hold spaces and brackets, so they are counted after the LAST bracket. Pure.
 */
export function statFields(stat: string): readonly string[] {
  return stat
    .slice(stat.lastIndexOf(")") + 2)
    .trimEnd()
    .split(" ")
}

/**
 * Whether no code of a process runs any more: there is none of that pid, or it is a zombie, which its parent has not waited for
 * yet (proc(5)). A zombie whose other threads still run has not ended. False where /proc does not tell.
 */
export function hasEnded(pid: number): boolean {
  try {
    const [state = ""] = statFields(readFileSync(`/proc/${pid}/stat`, "latin1"))
    return /^[ZX]$/.test(state) && readdirSync(`/proc/${pid}/task`).length <= 1
  } catch (error) {
    // ESRCH: it ended meanwhile.
    return ["ENOENT", "ESRCH"].includes(errorCode(error) ?? "")
  }
}
