import { readdirSync, readFileSync } from "node:fs"
import { errorCode, unlessAbsent } from "../../base/linux/errors.ts"
import { inodeOf, statPath } from "../../base/linux/files.ts"

/**
 * Whether a network namespace (`device:inode`) still exists: a process is in it, or it is mounted in our mount namespace.
 * True also when a process does not let its namespace be seen.
 */
export function namespaceExists(namespace: string): boolean {
  const inode = namespace.split(":").at(-1) ?? ""
  if (readFileSync("/proc/self/mountinfo", "latin1").includes(` net:[${inode}] `)) return true
  return readdirSync("/proc").some((pid) => /^[1-9]\d*$/.test(pid) && isIn(pid, namespace))
}

/** The network namespace (`device:inode`) that a process is in; undefined when it cannot be seen. */
export function networkNamespaceOf(pid: number): string | undefined {
  return unlessAbsent(() => inodeOf(statPath(`/proc/${pid}/ns/net`)), ["ENOENT", "ESRCH", "EACCES"])
}

/** Whether two processes are in one network namespace, by what is seen of theirs; undefined when one is not seen. Pure. */
export function isSameNamespace(one: string | undefined, other: string | undefined): boolean | undefined {
  return one === undefined || other === undefined ? undefined : one === other
}

// --- internal ---

function isIn(pid: string, namespace: string): boolean {
  try {
    return inodeOf(statPath(`/proc/${pid}/ns/net`)) === namespace
  } catch (error) {
    // The process has ended, or is ending.
    return errorCode(error) !== "ENOENT" && errorCode(error) !== "ESRCH"
  }
}
