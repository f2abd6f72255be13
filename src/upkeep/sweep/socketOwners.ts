import { existsSync, realpathSync } from "node:fs"
import { join } from "node:path"
import type { OwnerOf } from "../../host/sockets/judge.ts"
import { openDatabase } from "../../store/state/database.ts"
import { type Places, vmLayout } from "../../store/state/places.ts"
import { listUnfinished } from "../../store/state/records.ts"

/**
 * Says which VM a socket belongs to, by where it is, as the records are now: of those that have not ended or hold
 * something still. Where the records cannot be read, that cannot be told of anything in banger's own directories. Nothing is made.
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

/** Where live VMs have their sockets; undefined when it cannot be told. */
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
    // Whatever is wrong with the database or a record in it, other commands say; here it means that nothing is known.
    return undefined
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    // What is not there has nothing in it.
    return path
  }
}
