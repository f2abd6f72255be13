import { readdirSync } from "node:fs"
import { unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, statPath } from "../../base/linux/files.ts"

/** The pids of those who run this very file (same device and inode), as far as can be seen: to be told, not signalled. */
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
