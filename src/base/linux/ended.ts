import { readdirSync, readFileSync } from "node:fs"
import { errorCode } from "./errors.ts"

/**
 * Whether no code of a process runs any more: there is none of that pid, or it is a zombie, which its parent has not waited for
 * yet (proc(5)). A zombie whose other threads still run has not ended. False where /proc does not tell.
 */
export function hasEnded(pid: number): boolean {
  try {
    // A process chooses its own name, which may hold brackets: its state follows the LAST one.
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    return /^\) [ZX]/.test(stat.slice(stat.lastIndexOf(")"))) && readdirSync(`/proc/${pid}/task`).length <= 1
  } catch (error) {
    // ESRCH: it ended meanwhile.
    return ["ENOENT", "ESRCH"].includes(errorCode(error) ?? "")
  }
}
