import { readdirSync } from "node:fs"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, statPath } from "../../base/linux/files.ts"

/** The pids of the processes that run this very file, as far as can be seen: for a message, never for a signal. */
export function executing(path: string): readonly number[] {
  const target = inodeIf(path)
  if (target === undefined) return []
  const pids = readdirSync("/proc").filter((name) => /^[1-9]\d*$/.test(name))
  return pids.filter((pid) => inodeIf(`/proc/${pid}/exe`) === target).map(Number)
}

// --- internal ---

function inodeIf(path: string): string | undefined {
  // Gone, a thread of the kernel's, or hidden from us.
  return unlessAbsent(() => inodeOf(statPath(path)), ["ENOENT", "ESRCH", "EACCES", "EPERM"])
}
