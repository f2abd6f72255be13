import { dirname } from "node:path"
import { inodeOf, statPath } from "../../base/linux/files.ts"
import { bootId } from "./bootId.ts"
import type { VmLayout } from "./places.ts"

/** The symlink in a VM's runtime directory whose text is its mark: made whole in one call, and it leads nowhere. */
export const RUNTIME_MARK = ".owner"

/**
 * What tells whose a thing is that lies where bangers with other state directories have theirs: the boot, the state
 * directory's `device:inode`, and its path.
 */
export function markOf({ jails }: Pick<VmLayout, "jails">): string {
  const state = dirname(jails)
  return `${bootId()} ${inodeOf(statPath(state))} ${state}`
}

/**
 * Whose a mark says that a thing is: ours, another's with the state directory it names, or no mark of banger's. A
 * directory of our path is ours only if it is the very same one; device numbers last as long as the boot.
 */
export function ownerOfMark(mark: string | undefined, state: string): "ours" | "nobody" | { readonly other: string } {
  const [, boot, inode, path] = /^([0-9a-f-]{36}) (\d+:\d+:\d+) (\/.*)$/s.exec(mark ?? "") ?? []
  if (path === undefined) return "nobody"
  if (path !== state) return { other: path }
  return boot !== bootId() || inode === inodeOf(statPath(state)) ? "ours" : { other: `${path} of another container` }
}
