import { readFileSync } from "node:fs"
import { unescapeMountPath } from "../../base/linux/mounts.ts"

/** A mount, as a line of /proc/PID/mountinfo tells it (proc_pid_mountinfo(5)). Paths are bytes read as latin1. */
export interface Mount {
  readonly id: number
  readonly parent: number
  readonly point: string
  readonly options: string
}

/** The mounts on a path or below it, in this process's mount namespace. Throws when the table cannot be read. */
export function mountsBelow(path: string): readonly Mount[] {
  return parseMounts(readFileSync("/proc/self/mountinfo", "latin1"), path)
}

/** The mounts of a mountinfo text that are on a path or below it, innermost first. Pure. */
export function parseMounts(text: string, path: string): readonly Mount[] {
  const wanted = Buffer.from(path).toString("latin1")
  // A host may have thousands of mounts: a text that does not name the path is not parsed at all.
  const lines = text.includes("\\") || text.includes(wanted) ? text.split("\n") : []
  const mounts = lines.flatMap((line) => {
    const fields = line.split(" ")
    const point = unescapeMountPath(fields[4] ?? "")
    if (point !== wanted && !point.startsWith(`${wanted}/`)) return []
    return [{ id: Number(fields[0]), parent: Number(fields[1]), point, options: fields[5] ?? "" }]
  })
  return innermostFirst(mounts)
}

// --- internal ---

/** A mount comes before the one that it is mounted on. Ids are reused and so do not tell the order. */
function innermostFirst(mounts: readonly Mount[]): readonly Mount[] {
  const byId = new Map(mounts.map((mount) => [mount.id, mount]))
  const depth = (mount: Mount): number => {
    let count = 0
    // The first mount of a namespace can be its own parent.
    for (let at = byId.get(mount.parent); at !== undefined && count < mounts.length; at = byId.get(at.parent)) count++
    return count
  }
  const depths = new Map(mounts.map((mount) => [mount.id, depth(mount)]))
  return mounts.toReversed().sort((a, b) => (depths.get(b.id) ?? 0) - (depths.get(a.id) ?? 0))
}
