import { existsSync, realpathSync } from "node:fs"
import { join } from "node:path"
import type { OwnerOf } from "../../host/sockets/judge.ts"
import { openDatabase } from "../../store/state/database.ts"
import { type Places, vmLayout } from "../../store/state/places.ts"
import { listUnfinished } from "../../store/state/records.ts"

/**
 * Tells which VM a socket belongs to, by its path and the records as they are now: of VMs that have not ended, or still
 * hold something. While the records cannot be read, every socket in banger's own directories is `unknown`. Nothing is made.
 */
export function socketOwners(where: Places): OwnerOf {
  const own = [where.state, where.runtime].map(realPath)
  const vms = liveDirectories(where)
  return (path) => {
    const text = new TextDecoder().decode(path)
    if (vms !== undefined) return vms.find(({ dir }) => text.startsWith(`${dir}/`))?.id
    return own.some((dir) => text.startsWith(`${dir}/`)) ? "unknown" : undefined
  }
}

// --- internal ---

interface VmDirectory {
  readonly id: string
  readonly dir: string
}

/** The directories of live VMs; undefined when the records cannot be read. */
function liveDirectories(where: Places): readonly VmDirectory[] | undefined {
  if (!existsSync(join(where.state, "state.db"))) return []
  const places = { state: realPath(where.state), runtime: realPath(where.runtime) }
  try {
    const db = openDatabase(places.state)
    try {
      return listUnfinished(db).flatMap(({ id, vmm }) => {
        const { runtime, dir, jails } = vmLayout(places, id)
        return [runtime, dir, join(jails, vmm, id)].map((path) => ({ id, dir: path }))
      })
    } finally {
      db.close()
    }
  } catch {
    // Other commands say what is wrong with the records; for a socket's owner it means unknown.
    return undefined
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    // A directory that does not exist has no sockets.
    return path
  }
}
